-- What replicas count together, and how far the audit record of each has come.

-- +goose Up
CREATE TABLE Attempts (
    Process text NOT NULL,                -- of a split stack; empty: the stack is one process
    Key     bytea NOT NULL CHECK (length(Key) = 32), -- SHA-256 of the name of a bucket
    FullAt  timestamptz NOT NULL,         -- when the bucket is full again; then the row says nothing
    PRIMARY KEY (Process, Key)
);
CREATE INDEX Attempts_FullAt ON Attempts (Process, FullAt);

CREATE TABLE Homes (
    Process text NOT NULL,
    Key     bytea NOT NULL CHECK (length(Key) = 32), -- SHA-256 of account and address
    Until   timestamptz NOT NULL,         -- so long that address is the account's own
    PRIMARY KEY (Process, Key)
);
CREATE INDEX Homes_Until ON Homes (Process, Until);

-- Takes a token of each bucket, or of none, and returns the seconds to wait: not above
-- zero, they were taken. The last bucket is left out at home. Callers name buckets in
-- one order, so that they wait for one another and never in a circle.
-- +goose StatementBegin
CREATE FUNCTION take_attempt(of_process text, keys bytea[], intervals double precision[], bursts integer[], home_key bytea,
    OUT at_home boolean, OUT wait double precision) LANGUAGE plpgsql AS $$
DECLARE
    n integer := cardinality(keys);
    full_ats timestamptz[] := '{}';
    full_at timestamptz;
    ts timestamptz;
BEGIN
    at_home := EXISTS (SELECT FROM Homes h WHERE h.Process = of_process AND h.Key = home_key AND h.Until > clock_timestamp());
    IF at_home THEN
        n := n - 1;
    END IF;
    wait := 0;
    FOR i IN 1..n LOOP
        INSERT INTO Attempts AS a VALUES (of_process, keys[i], clock_timestamp())
            ON CONFLICT (Process, Key) DO UPDATE SET FullAt = a.FullAt RETURNING a.FullAt INTO full_at;
        full_ats := full_ats || full_at;
    END LOOP;
    ts := clock_timestamp();
    FOR i IN 1..n LOOP
        -- A clock that was set back makes nobody wait longer than an empty bucket does.
        full_ats[i] := least(greatest(full_ats[i], ts), ts + make_interval(secs => intervals[i] * bursts[i]));
        wait := greatest(wait, extract(epoch FROM full_ats[i] - ts)::double precision + intervals[i] - intervals[i] * bursts[i]);
    END LOOP;
    IF wait > 0.001 THEN -- timestamps have microseconds
        RETURN;
    END IF;
    wait := 0;
    FOR i IN 1..n LOOP
        UPDATE Attempts SET FullAt = full_ats[i] + make_interval(secs => intervals[i]) WHERE Process = of_process AND Key = keys[i];
    END LOOP;
END $$;
-- +goose StatementEnd

-- Gives back the tokens of an attempt that did not fail, in the same order.
-- +goose StatementBegin
CREATE FUNCTION give_attempt(of_process text, keys bytea[], intervals double precision[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..cardinality(keys) LOOP
        UPDATE Attempts SET FullAt = FullAt - make_interval(secs => intervals[i]) WHERE Process = of_process AND Key = keys[i];
    END LOOP;
END $$;
-- +goose StatementEnd

CREATE TABLE Anchors (
    Process   text NOT NULL,
    Chain     bytea NOT NULL CHECK (length(Chain) = 32),
    Replica   text NOT NULL,              -- whose record it is
    Seq       bigint NOT NULL CHECK (Seq > 0), -- of the newest record
    Hash      bytea NOT NULL CHECK (length(Hash) = 32), -- of that record
    Signature text NOT NULL,              -- over the head's statement, base64
    Seen      timestamptz NOT NULL DEFAULT clock_timestamp(), -- when it came
    Doubt     text,                       -- why the record in the directory is not this one any more
    PRIMARY KEY (Process, Chain)
);

-- A record only grows, whatever a program believes.
-- +goose StatementBegin
CREATE FUNCTION guard_anchors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'the anchor of an audit record stays';
    END IF;
    IF NEW.Process <> OLD.Process OR NEW.Chain <> OLD.Chain OR NEW.Seq < OLD.Seq OR NEW.Seq = OLD.Seq AND NEW.Hash <> OLD.Hash THEN
        RAISE EXCEPTION 'an audit record does not go back';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER guard_anchors BEFORE UPDATE OR DELETE ON Anchors FOR EACH ROW EXECUTE FUNCTION guard_anchors();

-- What of these records was entered in the transparency log, by the key that all have:
-- whoever verifies one record tells the others' entries by it.
CREATE TABLE Statements (
    Process   text NOT NULL,
    Digest    bytea NOT NULL CHECK (length(Digest) = 32), -- SHA-256 of the statement
    Statement bytea NOT NULL,
    PRIMARY KEY (Process, Digest)
);
