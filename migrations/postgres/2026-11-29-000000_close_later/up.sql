-- What the columns mean is said in migrations/sqlite.
ALTER TABLE session ADD COLUMN close_at BIGINT, ADD COLUMN close_connection BIGINT;
CREATE INDEX session_close_at ON session (close_at) WHERE close_at IS NOT NULL;
