DROP INDEX session_close_at;
ALTER TABLE session DROP COLUMN close_connection;
ALTER TABLE session DROP COLUMN close_at;
