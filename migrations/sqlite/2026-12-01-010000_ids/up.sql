-- Numbers are never given twice, not even by a copy of the database that knows less than its clients do: the next one is
-- at least the time, in microseconds since 2020. So they have gaps. Nodes of earlier versions, which give the number after
-- the newest, leave `skipped` and `previous` right without knowing them.

-- Numbers that were left out: `last_seq` without them counts the messages that its outbox has taken.
ALTER TABLE matssocket_session ADD COLUMN skipped BIGINT NOT NULL DEFAULT 0;
-- The number of the publication before this one; NULL: the next lower number.
ALTER TABLE matssocket_publication ADD COLUMN previous BIGINT;
-- For how many milliseconds the lease was taken: it never lies further ahead than that, unless the clock was set back.
-- NULL: by a node of an earlier version.
ALTER TABLE matssocket_node ADD COLUMN lease BIGINT;
-- When it was last set free, to be claimed from `due` on: by that it is seen that `due` was reckoned by a clock that was set
-- back since. NULL: never, or by a node of an earlier version.
ALTER TABLE matssocket_forwarded ADD COLUMN postponed BIGINT;
