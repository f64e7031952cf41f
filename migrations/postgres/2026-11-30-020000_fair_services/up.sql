ALTER TABLE forwarded ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
DROP INDEX forwarded_claim;
CREATE INDEX forwarded_free ON forwarded (service, due, id) INCLUDE (user_id, bytes) WHERE node IS NULL;
CREATE INDEX forwarded_held ON forwarded (node, service, due, id) INCLUDE (user_id, bytes) WHERE node IS NOT NULL;
CREATE INDEX forwarded_user ON forwarded (user_id, sid, bytes);
