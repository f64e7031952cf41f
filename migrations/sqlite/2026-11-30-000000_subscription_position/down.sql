ALTER TABLE matssocket_subscription DROP COLUMN since;
ALTER TABLE matssocket_session DROP COLUMN position;
