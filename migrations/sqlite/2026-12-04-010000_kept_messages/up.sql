-- Messages for users who have no session, kept until they open one. A node of an older version opens sessions without
-- looking here; the next session that another node opens gets them.
CREATE TABLE matssocket_kept_message (
    -- Those of one user are delivered in this order.
    id INTEGER PRIMARY KEY,
    user_id TEXT NOT NULL,
    eid TEXT NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT NOT NULL,
    -- Of the payload.
    bytes INTEGER NOT NULL,
    debug TEXT,
    created BIGINT NOT NULL,
    -- Until when it is given to sessions that are opened.
    kept_until BIGINT NOT NULL,
    -- Until when it may be delivered; NULL: without an end.
    expires BIGINT,
    -- Whether every session gets it that is opened until then, and not only the first to acknowledge it.
    for_every_session BOOLEAN NOT NULL,
    -- The session that got it last, and its number in that outbox. While it is in there, it is not acknowledged.
    session BIGINT,
    seq BIGINT
);
CREATE INDEX matssocket_kept_message_user ON matssocket_kept_message (user_id);
CREATE INDEX matssocket_kept_message_until ON matssocket_kept_message (kept_until);
CREATE INDEX matssocket_kept_message_session ON matssocket_kept_message (session) WHERE session IS NOT NULL;
