-- The client has received all that was published to this session up to this number; NULL: not known. Only ever grows.
ALTER TABLE matssocket_session ADD COLUMN position BIGINT;
-- What was published on the topic up to this number is not for the session; NULL: made by a node of an earlier version.
ALTER TABLE matssocket_subscription ADD COLUMN since BIGINT;
