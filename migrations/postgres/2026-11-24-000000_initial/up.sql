-- Times are milliseconds since the epoch. What the columns mean is said in migrations/sqlite.

CREATE SEQUENCE session_number;
CREATE TABLE session (
    -- The next session_number times 256, plus the session's shard: which of a node's writers deals with it.
    key BIGINT PRIMARY KEY,
    sid TEXT COLLATE "C" NOT NULL UNIQUE,
    smid_prefix TEXT NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    connection BIGINT NOT NULL,
    node TEXT COLLATE "C",
    client TEXT NOT NULL,
    app_name TEXT NOT NULL,
    app_version TEXT NOT NULL,
    created BIGINT NOT NULL,
    alive BIGINT NOT NULL,
    last_seq BIGINT NOT NULL
-- Room on each page: `last_seq` is written all the time, and needs no index entry if the new row fits beside the old.
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX session_user_id ON session (user_id);
CREATE INDEX session_node ON session (node);
CREATE INDEX session_alive ON session (alive);

CREATE TABLE inbox (
    session BIGINT NOT NULL,
    cmid TEXT COLLATE "C" NOT NULL,
    answer TEXT,
    created BIGINT NOT NULL,
    PRIMARY KEY (session, cmid)
-- Rows come and go: cleared often, whatever their number.
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

CREATE TABLE outbox (
    session BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    eid TEXT,
    cmid TEXT,
    tid TEXT NOT NULL,
    msg TEXT,
    debug TEXT,
    deliveries INTEGER NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (session, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

CREATE TABLE correlation (
    session BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    sid TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tid TEXT NOT NULL,
    terminator TEXT NOT NULL,
    string TEXT,
    bytes BYTEA,
    requested BIGINT NOT NULL,
    timeout_ms BIGINT NOT NULL,
    due BIGINT NOT NULL,
    reason TEXT,
    PRIMARY KEY (session, seq)
);
CREATE INDEX correlation_due ON correlation (due);

CREATE TABLE subscription (
    session BIGINT NOT NULL,
    topic TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (session, topic)
);

CREATE TABLE publication (
    id BIGINT NOT NULL PRIMARY KEY,
    created BIGINT NOT NULL,
    topic TEXT COLLATE "C" NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT NOT NULL
);
CREATE INDEX publication_topic ON publication (topic, id);
CREATE INDEX publication_created ON publication (created);

-- The newest publication's id: one row, locked until the commit, so that ids come to light in their order.
CREATE TABLE publication_clock (
    one BOOLEAN NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    newest BIGINT NOT NULL
) WITH (fillfactor = 10);
INSERT INTO publication_clock (newest) VALUES (0);

CREATE TABLE forwarded (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    epoch BIGINT NOT NULL,
    node TEXT COLLATE "C",
    due BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    secret TEXT NOT NULL,
    created BIGINT NOT NULL,
    service TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    sid TEXT NOT NULL,
    user_id TEXT NOT NULL,
    cmid TEXT,
    kind TEXT NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT NOT NULL,
    correlation TEXT,
    debug TEXT
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
CREATE INDEX forwarded_claim ON forwarded (node, due);

CREATE TABLE dead_letter (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin TEXT NOT NULL,
    session BIGINT,
    seq BIGINT,
    sid TEXT NOT NULL,
    user_id TEXT NOT NULL,
    service TEXT,
    endpoint TEXT,
    cmid TEXT,
    kind TEXT NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT,
    correlation TEXT,
    debug TEXT,
    created BIGINT NOT NULL,
    reason TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    died BIGINT NOT NULL
);

CREATE TABLE node (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    lease_until BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE sent_key (
    key TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    created BIGINT NOT NULL
);
CREATE INDEX sent_key_created ON sent_key (created);
