-- Segments: where the rows of `inbox` and `outbox` are while they are young. What they are for, and who writes what when,
-- is said in src/store/postgres/segments. Whoever names the parent sees their rows as well. They are emptied as a whole,
-- and need no vacuum.
CREATE TABLE inbox_1 (PRIMARY KEY (session, cmid)) INHERITS (inbox)
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE TABLE inbox_2 (PRIMARY KEY (session, cmid)) INHERITS (inbox)
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE TABLE inbox_3 (PRIMARY KEY (session, cmid)) INHERITS (inbox)
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE TABLE inbox_4 (PRIMARY KEY (session, cmid)) INHERITS (inbox)
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE TABLE outbox_1 (PRIMARY KEY (session, seq)) INHERITS (outbox)
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE TABLE outbox_2 (PRIMARY KEY (session, seq)) INHERITS (outbox)
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE TABLE outbox_3 (PRIMARY KEY (session, seq)) INHERITS (outbox)
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE TABLE outbox_4 (PRIMARY KEY (session, seq)) INHERITS (outbox)
    WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);

-- How it stands: one row. Each turn has a row of its own, so that the newest is found at the end of the index, whatever
-- an old transaction keeps of those before. Whoever changes it locks the table.
CREATE TABLE segments (
    turn BIGINT NOT NULL PRIMARY KEY,
    -- The segment that takes new rows, 1 to 4; 0: none does, and new rows go to the parents.
    current INTEGER NOT NULL,
    -- Whether the segment before the one before it is empty.
    emptied BOOLEAN NOT NULL,
    -- None takes rows before this time.
    not_before TIMESTAMPTZ NOT NULL
);
INSERT INTO segments (turn, current, emptied, not_before) VALUES (1, 0, true, '-infinity');

-- NULL: a node of a version that does not know segments. The others say so by this setting, on each of their connections.
ALTER TABLE node ADD COLUMN segments TEXT;
ALTER TABLE node ALTER COLUMN segments SET DEFAULT nullif(current_setting('matssocket.segments', true), '');

-- A node that does not know segments must not meet a row in them: it finds rows by their place, which is unique only
-- within one table, and looks for duplicates in the parent alone. So before it comes, the rows go to the parents, and none
-- is written to a segment until it has been gone for a while. (Whoever writes to a segment looks at `current` by a
-- statement that has locked the segment first, so that here all of them have ended, or have not looked yet.)
CREATE FUNCTION leave_segments() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
BEGIN
    LOCK TABLE segments IN SHARE ROW EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM segments WHERE current > 0) THEN
        -- In the order in which writers insert.
        LOCK TABLE ONLY outbox_1, ONLY outbox_2, ONLY outbox_3, ONLY outbox_4,
            ONLY inbox_1, ONLY inbox_2, ONLY inbox_3, ONLY inbox_4 IN EXCLUSIVE MODE;
        FOR number IN 1..4 LOOP
            EXECUTE format('WITH moved AS (DELETE FROM ONLY inbox_%s RETURNING *) '
                'INSERT INTO inbox SELECT * FROM moved ON CONFLICT DO NOTHING', number);
            EXECUTE format('WITH moved AS (DELETE FROM ONLY outbox_%s RETURNING *) '
                'INSERT INTO outbox SELECT * FROM moved ON CONFLICT DO NOTHING', number);
        END LOOP;
        UPDATE segments SET current = 0, emptied = true;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER leave_segments AFTER INSERT ON node FOR EACH ROW WHEN (NEW.segments IS NULL)
    EXECUTE FUNCTION leave_segments();

-- What such a node was doing when it left may still be under way.
CREATE FUNCTION await_segments() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
BEGIN
    LOCK TABLE segments IN SHARE ROW EXCLUSIVE MODE;
    UPDATE segments SET not_before = now() + INTERVAL '1 minute';
    RETURN NULL;
END $$;
CREATE TRIGGER await_segments AFTER DELETE ON node FOR EACH ROW WHEN (OLD.segments IS NULL)
    EXECUTE FUNCTION await_segments();
