-- What the column means is said in migrations/sqlite. The segments inherit it, but not the index.
ALTER TABLE outbox ADD COLUMN expires BIGINT;
CREATE INDEX outbox_expires ON outbox (expires) WHERE expires IS NOT NULL;
CREATE INDEX outbox_1_expires ON outbox_1 (expires) WHERE expires IS NOT NULL;
CREATE INDEX outbox_2_expires ON outbox_2 (expires) WHERE expires IS NOT NULL;
CREATE INDEX outbox_3_expires ON outbox_3 (expires) WHERE expires IS NOT NULL;
CREATE INDEX outbox_4_expires ON outbox_4 (expires) WHERE expires IS NOT NULL;
