package signing

// statementType is the payload type of envelopes that hold in-toto statements.
const statementType = "application/vnd.in-toto+json"
