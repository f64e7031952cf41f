-- Not a migration of any version: what a next one might do to the tables on which this version goes on working after a
-- rollback.
ALTER TABLE matssocket_session ADD COLUMN next_version TEXT;
ALTER TABLE matssocket_inbox ADD COLUMN next_version INTEGER DEFAULT 0 NOT NULL;
ALTER TABLE matssocket_outbox ADD COLUMN next_version INTEGER DEFAULT 0 NOT NULL;
ALTER TABLE matssocket_forwarded ADD COLUMN next_version TEXT;
ALTER TABLE matssocket_publication ADD COLUMN next_version TEXT;
ALTER TABLE matssocket_node ADD COLUMN next_version TEXT;
CREATE INDEX matssocket_session_next_version ON matssocket_session (next_version) WHERE next_version IS NOT NULL;
CREATE TABLE matssocket_next_version (id INTEGER PRIMARY KEY, session INTEGER NOT NULL);
