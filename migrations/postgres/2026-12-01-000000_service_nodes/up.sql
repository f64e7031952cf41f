-- What the columns mean is said in migrations/sqlite.
ALTER TABLE node ADD COLUMN services TEXT;
ALTER TABLE forwarded ADD COLUMN deadline BIGINT;
ALTER TABLE forwarded ADD COLUMN failed BIGINT;
ALTER TABLE forwarded ADD COLUMN adapted BOOLEAN;
ALTER TABLE dead_letter ADD COLUMN adapted BOOLEAN;
