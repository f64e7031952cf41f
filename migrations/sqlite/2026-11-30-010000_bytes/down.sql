DROP INDEX dead_letter_died;
ALTER TABLE dead_letter DROP COLUMN bytes;
ALTER TABLE session DROP COLUMN outbox_bytes;
