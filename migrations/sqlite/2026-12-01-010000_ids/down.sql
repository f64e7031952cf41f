ALTER TABLE forwarded DROP COLUMN postponed;
ALTER TABLE node DROP COLUMN lease;
ALTER TABLE publication DROP COLUMN previous;
ALTER TABLE session DROP COLUMN skipped;
