-- The services that the node has, as a JSON array of their names; NULL: it has not said so yet, or is a node of an earlier
-- version, which takes all work.
ALTER TABLE matssocket_node ADD COLUMN services TEXT;
-- Until when whoever waits for the reply waits; NULL: nobody does, or it is not known.
ALTER TABLE matssocket_forwarded ADD COLUMN deadline BIGINT;
-- When its first attempt failed; NULL: none has, or that was on a node of an earlier version.
ALTER TABLE matssocket_forwarded ADD COLUMN failed BIGINT;
-- Whether its endpoint has a reply adapter; NULL: a node of an earlier version stored it.
ALTER TABLE matssocket_forwarded ADD COLUMN adapted BOOLEAN;
-- The same of a forwarded row that was given up.
ALTER TABLE matssocket_dead_letter ADD COLUMN adapted BOOLEAN;
