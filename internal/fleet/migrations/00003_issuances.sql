-- Certificates that replicas count together.

-- +goose Up
-- Rows change with every certificate and no other column tells them apart, so that a page
-- with room takes the next version of a row and no index has to.
CREATE TABLE Issuances (
    Process text NOT NULL,                -- of a split stack; empty: the stack is one process
    Key     bytea NOT NULL CHECK (length(Key) = 32), -- SHA-256 of the name of a bucket
    FullAt  timestamptz NOT NULL,         -- when the bucket is full again; then the row says nothing
    PRIMARY KEY (Process, Key)
) WITH (fillfactor = 50);

-- Counts what was spent of each bucket already, which may leave it in debt, and then takes
-- for each request, in their order, a token of its first and of its second bucket, or of
-- neither. Requests name buckets by their place in keys, from 1 on; 0 is none. Of each
-- request it returns which bucket has no token (1 or 2; 0: they were taken) and how many
-- seconds that lasts, and of each bucket in how many it will be full. Keys come in one
-- order from everybody, so that those who take at once wait for one another and never in
-- a circle.
-- +goose StatementBegin
CREATE FUNCTION take_issuances(of_process text, keys bytea[], intervals double precision[], bursts integer[], spent integer[],
    firsts integer[], seconds integer[], OUT short integer[], OUT waits double precision[], OUT full_in double precision[]) LANGUAGE plpgsql AS $$
DECLARE
    full_at timestamptz;
    full_ats timestamptz[] := '{}';
    taken boolean[] := '{}';
    ts timestamptz;
    wait double precision;
    k integer;
BEGIN
    -- A crash of the database may forget the last moment of counts: no certificate waits
    -- for a disk because of them.
    PERFORM set_config('synchronous_commit', 'off', true);
    FOR i IN 1..cardinality(keys) LOOP
        INSERT INTO Issuances AS a VALUES (of_process, keys[i], clock_timestamp())
            ON CONFLICT (Process, Key) DO UPDATE SET FullAt = a.FullAt RETURNING a.FullAt INTO full_at;
        full_ats[i] := full_at;
    END LOOP;
    ts := clock_timestamp();
    full_in := '{}';
    FOR i IN 1..cardinality(keys) LOOP
        -- A clock that was set back makes nobody wait longer than the deepest debt does.
        full_in[i] := least(greatest(extract(epoch FROM full_ats[i] - ts)::double precision, 0) + intervals[i] * spent[i],
            2 * intervals[i] * bursts[i]);
        taken[i] := spent[i] > 0;
    END LOOP;
    short := '{}';
    waits := '{}';
    FOR r IN 1..cardinality(firsts) LOOP
        short[r] := 0;
        waits[r] := 0;
        FOR side IN 1..2 LOOP
            k := CASE side WHEN 1 THEN firsts[r] ELSE seconds[r] END;
            CONTINUE WHEN k = 0;
            wait := full_in[k] + intervals[k] - intervals[k] * bursts[k];
            IF wait > 0.00001 THEN -- timestamps have microseconds
                short[r] := side;
                waits[r] := wait;
                EXIT;
            END IF;
        END LOOP;
        CONTINUE WHEN short[r] > 0;
        FOREACH k IN ARRAY ARRAY[firsts[r], seconds[r]] LOOP
            CONTINUE WHEN k = 0;
            full_in[k] := full_in[k] + intervals[k];
            taken[k] := true;
        END LOOP;
    END LOOP;
    FOR i IN 1..cardinality(keys) LOOP
        CONTINUE WHEN NOT taken[i];
        UPDATE Issuances SET FullAt = ts + make_interval(secs => full_in[i]) WHERE Process = of_process AND Key = keys[i];
    END LOOP;
END $$;
-- +goose StatementEnd
