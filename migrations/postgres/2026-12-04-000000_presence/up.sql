-- What the columns mean is said in migrations/sqlite.
ALTER TABLE session ADD COLUMN connected BIGINT;

CREATE TABLE presence (
    user_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL,
    absent BIGINT
-- Room on each page: `absent` is written whenever a user goes or comes back. Rows come and go: cleared often.
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
CREATE INDEX presence_absent ON presence (absent) WHERE absent IS NOT NULL;

CREATE TABLE presence_clock (
    one INTEGER NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    reviewed BIGINT NOT NULL,
    nodes TEXT NOT NULL
) WITH (fillfactor = 10);
INSERT INTO presence_clock (one, number, reviewed, nodes) VALUES (1, 0, 0, '');
