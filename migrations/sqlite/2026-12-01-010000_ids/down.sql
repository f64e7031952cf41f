ALTER TABLE matssocket_forwarded DROP COLUMN postponed;
ALTER TABLE matssocket_node DROP COLUMN lease;
ALTER TABLE matssocket_publication DROP COLUMN previous;
ALTER TABLE matssocket_session DROP COLUMN skipped;
