-- Until when the message may be delivered; NULL: for as long as its session lives.
ALTER TABLE matssocket_outbox ADD COLUMN expires BIGINT;
CREATE INDEX matssocket_outbox_expires ON matssocket_outbox (expires) WHERE expires IS NOT NULL;
