DROP INDEX matssocket_forwarded_key;
ALTER TABLE matssocket_forwarded DROP COLUMN key;
