-- When the session is to be closed, unless its client registers again before: then the connection is another one.
ALTER TABLE matssocket_session ADD COLUMN close_at BIGINT;
ALTER TABLE matssocket_session ADD COLUMN close_connection BIGINT;
CREATE INDEX matssocket_session_close_at ON matssocket_session (close_at) WHERE close_at IS NOT NULL;
