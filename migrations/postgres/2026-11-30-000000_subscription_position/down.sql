ALTER TABLE subscription DROP COLUMN since;
ALTER TABLE session DROP COLUMN position;
