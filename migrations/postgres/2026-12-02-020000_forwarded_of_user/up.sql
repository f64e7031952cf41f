-- In the order in which they were stored, so that a count begins with the first that is there.
DROP INDEX forwarded_user;
CREATE INDEX forwarded_user ON forwarded (user_id, created) INCLUDE (sid, bytes);
