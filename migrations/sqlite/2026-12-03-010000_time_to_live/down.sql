DROP INDEX matssocket_outbox_expires;
ALTER TABLE matssocket_outbox DROP COLUMN expires;
