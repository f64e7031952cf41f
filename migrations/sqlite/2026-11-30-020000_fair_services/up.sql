-- Bytes of the message and of what goes beside it; 0 if a node of an older version stored it.
ALTER TABLE forwarded ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
-- By service, so that a claim does not walk the rows of services that have no place: the free rows, and those that a
-- node has claimed. They alone tell which rows are the oldest, whose they are and how large: messages are read only
-- once they are claimed.
DROP INDEX forwarded_claim;
CREATE INDEX forwarded_free ON forwarded (service, due, id, user_id, bytes) WHERE node IS NULL;
CREATE INDEX forwarded_held ON forwarded (node, service, due, id, user_id, bytes) WHERE node IS NOT NULL;
-- Counts what one user, and one session, has forwarded.
CREATE INDEX forwarded_user ON forwarded (user_id, sid, bytes);
