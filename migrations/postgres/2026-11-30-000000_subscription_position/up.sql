-- What the columns mean is said in migrations/sqlite.
ALTER TABLE session ADD COLUMN position BIGINT;
ALTER TABLE subscription ADD COLUMN since BIGINT;
