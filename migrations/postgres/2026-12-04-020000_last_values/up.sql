-- What the columns mean is said in migrations/sqlite.
CREATE TABLE topic_value (
    topic TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    -- No index has it, so that a value is replaced beside the old one.
    id BIGINT NOT NULL,
    created BIGINT NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT NOT NULL,
    PRIMARY KEY (topic, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
