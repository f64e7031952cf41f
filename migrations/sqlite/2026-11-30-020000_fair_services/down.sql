DROP INDEX forwarded_user;
DROP INDEX forwarded_held;
DROP INDEX forwarded_free;
CREATE INDEX forwarded_claim ON forwarded (node, due);
ALTER TABLE forwarded DROP COLUMN bytes;
