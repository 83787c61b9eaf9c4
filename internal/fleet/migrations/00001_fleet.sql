-- What the replicas of a process have in common: the files of its directory, who
-- leads, and who belongs to them.

-- +goose Up
CREATE TABLE Fleets (
    Process  text PRIMARY KEY,            -- of a split stack; empty: the stack is one process
    Revision bigint NOT NULL DEFAULT 0,   -- of the files
    Term     bigint NOT NULL DEFAULT 0,   -- counts leaders
    Leader   text                         -- name of the replica that leads, or led last
);

CREATE TABLE Files (
    Process  text NOT NULL,
    Path     text NOT NULL,               -- below the data directory, with slashes
    Content  bytea,                       -- null: the file is gone
    Mode     integer NOT NULL,
    Revision bigint NOT NULL,             -- at which it became so
    PRIMARY KEY (Process, Path)
);

CREATE TABLE Replicas (
    Process text NOT NULL,
    Name    text NOT NULL,
    Address text NOT NULL,                -- host:port where other replicas reach it
    Pin     bytea NOT NULL CHECK (length(Pin) = 32),
    Applied bigint NOT NULL DEFAULT 0,    -- revision that it works with
    Seen    timestamptz NOT NULL DEFAULT 'epoch', -- its last sign of life
    PRIMARY KEY (Process, Name),
    UNIQUE (Process, Pin)
);

-- The order of leaders and of revisions is kept whatever a program believes: neither
-- goes back, and files change in the newest revision alone.
-- +goose StatementBegin
CREATE FUNCTION guard_fleets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.Term < OLD.Term OR NEW.Revision < OLD.Revision THEN
        RAISE EXCEPTION 'terms and revisions of a fleet do not go back';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER guard_fleets BEFORE UPDATE ON Fleets FOR EACH ROW EXECUTE FUNCTION guard_fleets();

-- +goose StatementBegin
CREATE FUNCTION guard_files() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.Revision IS DISTINCT FROM (SELECT Revision FROM Fleets WHERE Process = NEW.Process) THEN
        RAISE EXCEPTION 'a file of a fleet changes in its newest revision alone';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER guard_files BEFORE INSERT OR UPDATE ON Files FOR EACH ROW EXECUTE FUNCTION guard_files();
