-- A connection that stores for a session again and again writes the row once for a range of numbers, so that `last_seq` and
-- `outbox_bytes` may say more than was taken. A node that does not know this must not be misled: numbers are reserved only
-- while the session's `connection` is this one, which nodes that know it write when they register it.
ALTER TABLE matssocket_session ADD COLUMN reserves BIGINT;
