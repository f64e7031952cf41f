-- When the connection that holds the session was registered. NULL: before this column was there.
ALTER TABLE matssocket_session ADD COLUMN connected BIGINT;

-- The users who are present, as far as watchers have been told: from when a join was published until a leave is. Who is
-- connected is in the sessions; this is what was said of it. Empty while no node has presence switched on.
CREATE TABLE matssocket_presence (
    user_id TEXT NOT NULL PRIMARY KEY,
    -- Since when the user is present.
    since BIGINT NOT NULL,
    -- Since when no session of the user is connected; NULL: one is. The user leaves when that has lasted for the grace.
    absent BIGINT
) WITHOUT ROWID;
CREATE INDEX matssocket_presence_absent ON matssocket_presence (absent) WHERE absent IS NOT NULL;

-- One row. Whoever changes who is present locks it first, so that each change is published once, in one order.
CREATE TABLE matssocket_presence_clock (
    -- 1.
    one INTEGER NOT NULL PRIMARY KEY,
    -- Number of the newest change.
    number BIGINT NOT NULL,
    -- When all users were last compared with all sessions, and which nodes lived then, by name. Another node that lives, or
    -- one that does no longer, is a reason to compare them again.
    reviewed BIGINT NOT NULL,
    nodes TEXT NOT NULL
);
INSERT INTO matssocket_presence_clock (one, number, reviewed, nodes) VALUES (1, 0, 0, '');
