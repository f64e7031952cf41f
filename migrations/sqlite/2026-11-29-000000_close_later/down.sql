DROP INDEX matssocket_session_close_at;
ALTER TABLE matssocket_session DROP COLUMN close_connection;
ALTER TABLE matssocket_session DROP COLUMN close_at;
