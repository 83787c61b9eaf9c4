-- The tables that Trillian's PostgreSQL driver (v1.8.0) reads and writes by name,
-- in a schema that holds one log. No foreign keys: a batch would pay for each of
-- its leaves what the guards of the next migration check once. Keys begin with what
-- tells rows apart: every row is of one of few trees, which the planner does not know
-- of a young table, so that a key that began with the tree would look selective to it,
-- and a batch would read the whole log.

-- +goose Up
CREATE TYPE TreeState AS ENUM ('ACTIVE', 'FROZEN', 'DRAINING');
CREATE TYPE TreeType AS ENUM ('LOG', 'MAP', 'PREORDERED_LOG');

CREATE TABLE Trees (
    TreeId                bigint PRIMARY KEY,
    TreeState             TreeState NOT NULL,
    TreeType              TreeType NOT NULL,
    DisplayName           text,
    Description           text,
    CreateTimeMillis      bigint NOT NULL,
    UpdateTimeMillis      bigint NOT NULL,
    MaxRootDurationMillis bigint NOT NULL,
    Deleted               boolean,
    DeleteTimeMillis      bigint
);

-- Written by the driver for each tree, read by nobody.
CREATE TABLE TreeControl (
    TreeId                  bigint PRIMARY KEY,
    SigningEnabled          boolean NOT NULL,
    SequencingEnabled       boolean NOT NULL,
    SequenceIntervalSeconds integer NOT NULL
);

-- Nodes, eight levels a row. The driver names the constraint.
CREATE TABLE Subtree (
    TreeId    bigint NOT NULL,
    SubtreeId bytea NOT NULL,
    Nodes     bytea NOT NULL,
    CONSTRAINT Subtree_pk PRIMARY KEY (SubtreeId, TreeId)
);

-- Roots; the newest by time counts. Times are nanoseconds since 1970.
CREATE TABLE TreeHead (
    TreeId            bigint NOT NULL,
    TreeHeadTimestamp bigint NOT NULL,
    TreeSize          bigint NOT NULL CHECK (TreeSize >= 0),
    RootHash          bytea NOT NULL,
    RootSignature     bytea NOT NULL,
    PRIMARY KEY (TreeId, TreeHeadTimestamp)
);

-- What each leaf says.
CREATE TABLE LeafData (
    TreeId              bigint NOT NULL,
    LeafIdentityHash    bytea NOT NULL CHECK (length(LeafIdentityHash) = 32),
    LeafValue           bytea NOT NULL,
    ExtraData           bytea,
    QueueTimestampNanos bigint NOT NULL,
    PRIMARY KEY (LeafIdentityHash, TreeId)
);

-- Where each leaf is.
CREATE TABLE SequencedLeafData (
    TreeId                  bigint NOT NULL,
    SequenceNumber          bigint NOT NULL CHECK (SequenceNumber >= 0),
    LeafIdentityHash        bytea NOT NULL,
    MerkleLeafHash          bytea NOT NULL CHECK (length(MerkleLeafHash) = 32),
    IntegrateTimestampNanos bigint NOT NULL,
    PRIMARY KEY (SequenceNumber, TreeId)
);
CREATE INDEX SequencedLeafMerkle ON SequencedLeafData (MerkleLeafHash, TreeId);
CREATE UNIQUE INDEX SequencedLeafIdentity ON SequencedLeafData (LeafIdentityHash, TreeId);

-- Trillian's own queue. The engine has none in the database.
CREATE TABLE Unsequenced (
    TreeId              bigint NOT NULL,
    Bucket              integer NOT NULL,
    LeafIdentityHash    bytea NOT NULL,
    MerkleLeafHash      bytea NOT NULL,
    QueueTimestampNanos bigint NOT NULL,
    QueueID             bytea UNIQUE,
    PRIMARY KEY (Bucket, QueueTimestampNanos, LeafIdentityHash, TreeId)
);

-- Rows of the services, such as a search index, committed with their leaf.
CREATE TABLE ExtraRow (
    TreeId bigint NOT NULL,
    Key    bytea NOT NULL,
    Value  bytea NOT NULL,
    PRIMARY KEY (Key, TreeId)
);

-- +goose Down
DROP TABLE ExtraRow, Unsequenced, SequencedLeafData, LeafData, TreeHead, Subtree, TreeControl, Trees;
DROP TYPE TreeType, TreeState;
