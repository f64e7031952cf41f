
CREATE TABLE session (
    key INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    sid TEXT NOT NULL UNIQUE,
    smid_prefix TEXT NOT NULL,
    user_id TEXT NOT NULL,
    connection BIGINT NOT NULL,
    node TEXT,
    client TEXT NOT NULL,
    app_name TEXT NOT NULL,
    app_version TEXT NOT NULL,
    created BIGINT NOT NULL,
    alive BIGINT NOT NULL,
    last_seq BIGINT NOT NULL
);
CREATE INDEX session_user ON session (user_id);
CREATE INDEX session_node ON session (node);
CREATE INDEX session_alive ON session (alive);

CREATE TABLE inbox (
    session BIGINT NOT NULL,
    cmid TEXT NOT NULL,
    answer TEXT,
    created BIGINT NOT NULL,
    PRIMARY KEY (session, cmid)
) WITHOUT ROWID;

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
) WITHOUT ROWID;

CREATE TABLE correlation (
    session BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    sid TEXT NOT NULL,
    user_id TEXT NOT NULL,
    tid TEXT NOT NULL,
    terminator TEXT NOT NULL,
    string TEXT,
    bytes BLOB,
    requested BIGINT NOT NULL,
    timeout_ms BIGINT NOT NULL,
    due BIGINT NOT NULL,
    reason TEXT,
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;
CREATE INDEX correlation_due ON correlation (due);

CREATE TABLE subscription (
    session BIGINT NOT NULL,
    topic TEXT NOT NULL,
    PRIMARY KEY (session, topic)
) WITHOUT ROWID;

CREATE TABLE publication (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    created BIGINT NOT NULL,
    topic TEXT NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT NOT NULL
);
CREATE INDEX publication_topic ON publication (topic, id);
CREATE INDEX publication_created ON publication (created);

CREATE TABLE forwarded (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    epoch BIGINT NOT NULL,
    node TEXT,
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
);
CREATE INDEX forwarded_claim ON forwarded (node, due);

CREATE TABLE dead_letter (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
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
    name TEXT NOT NULL PRIMARY KEY,
    lease_until BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE sent_key (
    key TEXT NOT NULL PRIMARY KEY,
    created BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sent_key_created ON sent_key (created);
ALTER TABLE session ADD COLUMN close_at BIGINT;
ALTER TABLE session ADD COLUMN close_connection BIGINT;
CREATE INDEX session_close_at ON session (close_at) WHERE close_at IS NOT NULL;
ALTER TABLE session ADD COLUMN position BIGINT;
ALTER TABLE subscription ADD COLUMN since BIGINT;
