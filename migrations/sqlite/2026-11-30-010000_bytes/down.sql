DROP INDEX matssocket_dead_letter_died;
ALTER TABLE matssocket_dead_letter DROP COLUMN bytes;
ALTER TABLE matssocket_session DROP COLUMN outbox_bytes;
