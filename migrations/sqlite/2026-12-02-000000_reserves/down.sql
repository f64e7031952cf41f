ALTER TABLE matssocket_session DROP COLUMN reserves;
