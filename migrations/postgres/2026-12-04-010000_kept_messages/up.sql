-- What the columns mean is said in migrations/sqlite.
CREATE TABLE kept_message (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id TEXT COLLATE "C" NOT NULL,
    eid TEXT NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    debug TEXT,
    created BIGINT NOT NULL,
    kept_until BIGINT NOT NULL,
    expires BIGINT,
    for_every_session BOOLEAN NOT NULL,
    session BIGINT,
    seq BIGINT
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
CREATE INDEX kept_message_user ON kept_message (user_id);
CREATE INDEX kept_message_until ON kept_message (kept_until);
CREATE INDEX kept_message_session ON kept_message (session) WHERE session IS NOT NULL;
