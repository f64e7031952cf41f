ALTER TABLE matssocket_dead_letter DROP COLUMN adapted;
ALTER TABLE matssocket_forwarded DROP COLUMN adapted;
ALTER TABLE matssocket_forwarded DROP COLUMN failed;
ALTER TABLE matssocket_forwarded DROP COLUMN deadline;
ALTER TABLE matssocket_node DROP COLUMN services;
