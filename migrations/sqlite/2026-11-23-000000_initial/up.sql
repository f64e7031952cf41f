-- Times are milliseconds since the epoch. Keys are integers, and AUTOINCREMENT where one must never be used again.

CREATE TABLE matssocket_session (
    key INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    sid TEXT NOT NULL UNIQUE,
    smid_prefix TEXT NOT NULL,
    user_id TEXT NOT NULL,
    -- Counts the registrations: the fencing token.
    connection BIGINT NOT NULL,
    -- Which node holds it; NULL: not connected.
    node TEXT,
    client TEXT NOT NULL,
    app_name TEXT NOT NULL,
    app_version TEXT NOT NULL,
    created BIGINT NOT NULL,
    alive BIGINT NOT NULL,
    -- Newest sequence number of its outbox.
    last_seq BIGINT NOT NULL
);
CREATE INDEX matssocket_session_user ON matssocket_session (user_id);
CREATE INDEX matssocket_session_node ON matssocket_session (node);
CREATE INDEX matssocket_session_alive ON matssocket_session (alive);

CREATE TABLE matssocket_inbox (
    session BIGINT NOT NULL,
    cmid TEXT NOT NULL,
    -- NULL: a plain ACK.
    answer TEXT,
    created BIGINT NOT NULL,
    PRIMARY KEY (session, cmid)
) WITHOUT ROWID;

CREATE TABLE matssocket_outbox (
    session BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    eid TEXT,
    cmid TEXT,
    tid TEXT NOT NULL,
    msg TEXT,
    debug TEXT,
    -- Counted deliveries without an acknowledgement.
    deliveries INTEGER NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;

-- A row outlives its session: the reply terminator must still be told.
CREATE TABLE matssocket_correlation (
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
    -- Why it ended; NULL: still waiting.
    reason TEXT,
    PRIMARY KEY (session, seq)
) WITHOUT ROWID;
CREATE INDEX matssocket_correlation_due ON matssocket_correlation (due);

CREATE TABLE matssocket_subscription (
    session BIGINT NOT NULL,
    topic TEXT NOT NULL,
    PRIMARY KEY (session, topic)
) WITHOUT ROWID;

CREATE TABLE matssocket_publication (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    created BIGINT NOT NULL,
    topic TEXT NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT NOT NULL
);
CREATE INDEX matssocket_publication_topic ON matssocket_publication (topic, id);
CREATE INDEX matssocket_publication_created ON matssocket_publication (created);

CREATE TABLE matssocket_forwarded (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- Counts the claims: only the newest may settle.
    epoch BIGINT NOT NULL,
    -- Which node has claimed it; NULL: free, from `due` on.
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
CREATE INDEX matssocket_forwarded_claim ON matssocket_forwarded (node, due);

CREATE TABLE matssocket_dead_letter (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    -- 'outbox' or 'service'.
    origin TEXT NOT NULL,
    -- Of an outbox message: where it was.
    session BIGINT,
    seq BIGINT,
    sid TEXT NOT NULL,
    user_id TEXT NOT NULL,
    -- Of a forwarded row.
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

CREATE TABLE matssocket_node (
    name TEXT NOT NULL PRIMARY KEY,
    lease_until BIGINT NOT NULL
) WITHOUT ROWID;

-- Idempotency keys of calls that have been committed.
CREATE TABLE matssocket_sent_key (
    key TEXT NOT NULL PRIMARY KEY,
    created BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX matssocket_sent_key_created ON matssocket_sent_key (created);
