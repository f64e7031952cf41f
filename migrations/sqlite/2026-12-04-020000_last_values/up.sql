-- The last values of topics, for who subscribes later. Each is a publication that is kept until the next one of the same key
-- replaces it, whatever becomes of the history.
CREATE TABLE matssocket_topic_value (
    topic TEXT NOT NULL,
    -- What it is the value of; empty: of the topic as a whole.
    key TEXT NOT NULL,
    -- As in the publication.
    id BIGINT NOT NULL,
    created BIGINT NOT NULL,
    tid TEXT NOT NULL,
    msg TEXT NOT NULL,
    PRIMARY KEY (topic, key)
);
