-- The application whose sessions these are: one row, written by its first node. Two applications would mix their users'
-- sessions, topics and messages.
CREATE TABLE matssocket_application (
    -- 1.
    one INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
);
