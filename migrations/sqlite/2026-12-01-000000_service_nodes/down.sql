ALTER TABLE dead_letter DROP COLUMN adapted;
ALTER TABLE forwarded DROP COLUMN adapted;
ALTER TABLE forwarded DROP COLUMN failed;
ALTER TABLE forwarded DROP COLUMN deadline;
ALTER TABLE node DROP COLUMN services;
