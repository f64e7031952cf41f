-- Not a migration of any version: what a next one might do to the tables while nodes of this version work on them, and
-- go on working on them after a rollback.
ALTER TABLE session ADD COLUMN next_version TEXT;
ALTER TABLE inbox ADD COLUMN next_version BIGINT DEFAULT 0 NOT NULL;
ALTER TABLE outbox ADD COLUMN next_version BIGINT DEFAULT 0 NOT NULL;
ALTER TABLE forwarded ADD COLUMN next_version TEXT;
ALTER TABLE publication ADD COLUMN next_version TEXT;
ALTER TABLE node ADD COLUMN next_version TEXT;
CREATE INDEX session_next_version ON session (next_version) WHERE next_version IS NOT NULL;
CREATE TABLE next_version (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, session BIGINT NOT NULL);
