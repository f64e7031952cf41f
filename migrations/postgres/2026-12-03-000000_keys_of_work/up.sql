-- What the column means is said in migrations/sqlite.
ALTER TABLE forwarded ADD COLUMN key TEXT;
CREATE UNIQUE INDEX forwarded_key ON forwarded (service, key) WHERE key IS NOT NULL;
