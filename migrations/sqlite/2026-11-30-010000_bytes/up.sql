-- Payload bytes that the outbox has taken since the session was opened, whatever became of them: it only grows, with
-- `last_seq`. (Earlier versions do not count theirs.)
ALTER TABLE matssocket_session ADD COLUMN outbox_bytes BIGINT NOT NULL DEFAULT 0;
-- Bytes of its payload; NULL: it was put here by an earlier version, and is not counted.
ALTER TABLE matssocket_dead_letter ADD COLUMN bytes INTEGER;
-- The oldest first, with all that must be known to let them go.
CREATE INDEX matssocket_dead_letter_died ON matssocket_dead_letter (died, id, bytes);
