-- Bytes of the message and of what goes beside it; 0 if a node of an older version stored it.
ALTER TABLE matssocket_forwarded ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
-- By service, so that a claim does not walk the rows of services that have no place: the free rows, and those that a
-- node has claimed. They alone tell which rows are the oldest, whose they are and how large: messages are read only
-- once they are claimed.
DROP INDEX matssocket_forwarded_claim;
CREATE INDEX matssocket_forwarded_free ON matssocket_forwarded (service, due, id, user_id, bytes) WHERE node IS NULL;
CREATE INDEX matssocket_forwarded_held ON matssocket_forwarded (node, service, due, id, user_id, bytes) WHERE node IS NOT NULL;
-- Counts what one user, and one session, has forwarded.
CREATE INDEX matssocket_forwarded_user ON matssocket_forwarded (user_id, sid, bytes);
