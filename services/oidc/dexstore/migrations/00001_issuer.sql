-- What the issuer keeps: signing keys, refresh tokens and logins under way.

-- +goose Up
CREATE TABLE Issuer (
    Key text COLLATE "C" PRIMARY KEY,     -- kind and id, percent-encoded ASCII
    Box bytea NOT NULL                    -- the row, encrypted by the program
);
