-- What keeps a log from being forked, whoever writes: correctness is the
-- database's, and who leads is a matter of speed. SQLSTATEs of class SG are this
-- program's: SG001 a root that does not extend the newest, SG002 a frozen tree,
-- SG003 a transaction that could not see the newest root.

-- +goose Up

-- lock_tree makes writers of a tree take turns until they commit.
-- +goose StatementBegin
CREATE FUNCTION lock_tree(tree bigint) RETURNS void
LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(tree) $$;
-- +goose StatementEnd

-- A root must be later than the newest one, over as many leaves or more, and over
-- as many have the same hash. The lock comes first, so that the newest root is that of
-- whoever had it before; under READ COMMITTED each statement here sees as much.
-- +goose StatementBegin
CREATE FUNCTION guard_head() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    newest TreeHead;
    state  TreeState;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a root must be stored under READ COMMITTED, not %', current_setting('transaction_isolation')
            USING ERRCODE = 'SG003';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'tree %: a root that is stored never changes', OLD.TreeId USING ERRCODE = 'SG001';
    END IF;
    PERFORM lock_tree(NEW.TreeId);
    SELECT t.TreeState INTO state FROM Trees t WHERE t.TreeId = NEW.TreeId;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no tree %', NEW.TreeId USING ERRCODE = 'foreign_key_violation';
    END IF;
    SELECT * INTO newest FROM TreeHead h WHERE h.TreeId = NEW.TreeId ORDER BY h.TreeHeadTimestamp DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN NEW; -- a tree gets its first root in any state
    END IF;
    IF state = 'FROZEN' THEN
        RAISE EXCEPTION 'tree % is frozen', NEW.TreeId USING ERRCODE = 'SG002';
    END IF;
    IF NEW.TreeSize < newest.TreeSize THEN
        RAISE EXCEPTION 'tree % has % leaves, refusing a root over %', NEW.TreeId, newest.TreeSize, NEW.TreeSize
            USING ERRCODE = 'SG001';
    END IF;
    IF NEW.TreeSize = newest.TreeSize AND NEW.TreeSize > 0 AND NEW.RootHash <> newest.RootHash THEN
        RAISE EXCEPTION 'tree %: refusing a second root hash for size %', NEW.TreeId, NEW.TreeSize USING ERRCODE = 'SG001';
    END IF;
    IF NEW.TreeHeadTimestamp <= newest.TreeHeadTimestamp THEN
        RAISE EXCEPTION 'tree %: refusing a root of time %, the newest is of %', NEW.TreeId, NEW.TreeHeadTimestamp, newest.TreeHeadTimestamp
            USING ERRCODE = 'SG001';
    END IF;
    RETURN NEW;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER guard_head BEFORE INSERT OR UPDATE ON TreeHead FOR EACH ROW EXECUTE FUNCTION guard_head();

-- A state that changes holds for every batch that is not committed by then.
-- +goose StatementBegin
CREATE FUNCTION guard_tree() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_tree(OLD.TreeId);
    IF TG_OP = 'UPDATE' THEN
        RETURN NEW;
    END IF;
    DELETE FROM TreeControl WHERE TreeId = OLD.TreeId;
    DELETE FROM Subtree WHERE TreeId = OLD.TreeId;
    DELETE FROM TreeHead WHERE TreeId = OLD.TreeId;
    DELETE FROM SequencedLeafData WHERE TreeId = OLD.TreeId;
    DELETE FROM LeafData WHERE TreeId = OLD.TreeId;
    DELETE FROM Unsequenced WHERE TreeId = OLD.TreeId;
    DELETE FROM ExtraRow WHERE TreeId = OLD.TreeId;
    RETURN OLD;
END;
$$;
-- +goose StatementEnd
CREATE TRIGGER guard_tree BEFORE UPDATE OF TreeState OR DELETE ON Trees FOR EACH ROW EXECUTE FUNCTION guard_tree();

-- Called by the driver behind a table of the transaction's own. A leaf whose
-- identity or index is taken is not stored but reported, and whoever called has to
-- abort then. The driver wants no time of integration stored here: it reads back 0,
-- and the engine carries the true one in the time of queueing. What is there already is
-- asked for leaf by leaf: EXISTS lets the planner read a whole table instead.
-- +goose StatementBegin
CREATE FUNCTION add_sequenced_leaves()
RETURNS TABLE (leaf_identity_hash bytea, is_duplicate_leaf_data boolean, is_duplicate_sequenced_leaf_data boolean)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_tree(t.TreeId) FROM (SELECT DISTINCT n.TreeId FROM TempAddSequencedLeaves n) t;
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT n.*,
            (SELECT true FROM LeafData l WHERE l.TreeId = n.TreeId AND l.LeafIdentityHash = n.LeafIdentityHash) IS TRUE AS known,
            (SELECT true FROM SequencedLeafData s WHERE s.TreeId = n.TreeId AND s.SequenceNumber = n.SequenceNumber) IS TRUE AS taken
        FROM TempAddSequencedLeaves n
    ), said AS (
        INSERT INTO LeafData (TreeId, LeafIdentityHash, LeafValue, ExtraData, QueueTimestampNanos)
        SELECT g.TreeId, g.LeafIdentityHash, g.LeafValue, g.ExtraData, g.QueueTimestampNanos
        FROM given g WHERE NOT g.known AND NOT g.taken
    ), placed AS (
        INSERT INTO SequencedLeafData (TreeId, SequenceNumber, LeafIdentityHash, MerkleLeafHash, IntegrateTimestampNanos)
        SELECT g.TreeId, g.SequenceNumber, g.LeafIdentityHash, g.MerkleLeafHash, 0
        FROM given g WHERE NOT g.known AND NOT g.taken
    )
    SELECT g.LeafIdentityHash, g.known, g.taken FROM given g;
END;
$$;
-- +goose StatementEnd

-- Trillian's own way in, which the engine does not take; it returns the
-- identities that were there.
-- +goose StatementBegin
CREATE FUNCTION queue_leaves() RETURNS SETOF bytea
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_tree(t.TreeId) FROM (SELECT DISTINCT n.TreeId FROM TempQueueLeaves n) t;
    RETURN QUERY
    WITH given AS MATERIALIZED (
        SELECT DISTINCT ON (n.TreeId, n.LeafIdentityHash) n.*,
            (SELECT true FROM LeafData l WHERE l.TreeId = n.TreeId AND l.LeafIdentityHash = n.LeafIdentityHash) IS TRUE AS known
        FROM TempQueueLeaves n
    ), said AS (
        INSERT INTO LeafData (TreeId, LeafIdentityHash, LeafValue, ExtraData, QueueTimestampNanos)
        SELECT g.TreeId, g.LeafIdentityHash, g.LeafValue, g.ExtraData, g.QueueTimestampNanos FROM given g WHERE NOT g.known
    ), queued AS (
        INSERT INTO Unsequenced (TreeId, Bucket, LeafIdentityHash, MerkleLeafHash, QueueTimestampNanos, QueueID)
        SELECT g.TreeId, 0, g.LeafIdentityHash, g.MerkleLeafHash, g.QueueTimestampNanos, g.QueueID FROM given g WHERE NOT g.known
    )
    SELECT g.LeafIdentityHash FROM given g WHERE g.known;
END;
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION queue_leaves, add_sequenced_leaves;
DROP TRIGGER guard_tree ON Trees;
DROP TRIGGER guard_head ON TreeHead;
DROP FUNCTION guard_tree, guard_head, lock_tree;
