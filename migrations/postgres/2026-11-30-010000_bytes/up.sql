-- What the columns mean is said in migrations/sqlite.
ALTER TABLE session ADD COLUMN outbox_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE dead_letter ADD COLUMN bytes INTEGER;
CREATE INDEX dead_letter_died ON dead_letter (died, id, bytes);
