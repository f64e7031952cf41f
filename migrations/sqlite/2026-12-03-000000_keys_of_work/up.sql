-- Names work, so that it can be cancelled, and so that there is one of a kind at a time; NULL: it has no name.
ALTER TABLE matssocket_forwarded ADD COLUMN key TEXT;
CREATE UNIQUE INDEX matssocket_forwarded_key ON matssocket_forwarded (service, key) WHERE key IS NOT NULL;
