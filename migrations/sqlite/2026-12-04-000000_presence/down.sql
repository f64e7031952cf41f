DROP TABLE matssocket_presence_clock;
DROP TABLE matssocket_presence;
ALTER TABLE matssocket_session DROP COLUMN connected;
