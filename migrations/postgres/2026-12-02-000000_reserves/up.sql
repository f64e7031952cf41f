-- What the columns mean is said in migrations/sqlite.
ALTER TABLE session ADD COLUMN reserves BIGINT;
