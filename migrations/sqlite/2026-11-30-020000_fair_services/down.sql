DROP INDEX matssocket_forwarded_user;
DROP INDEX matssocket_forwarded_held;
DROP INDEX matssocket_forwarded_free;
CREATE INDEX matssocket_forwarded_claim ON matssocket_forwarded (node, due);
ALTER TABLE matssocket_forwarded DROP COLUMN bytes;
