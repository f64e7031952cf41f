-- When the session is to be closed, unless its client registers again before: then the connection is another one.
ALTER TABLE session ADD COLUMN close_at BIGINT;
ALTER TABLE session ADD COLUMN close_connection BIGINT;
CREATE INDEX session_close_at ON session (close_at) WHERE close_at IS NOT NULL;
