-- The token itself is not stored, only its SHA-256 (rule S3).
CREATE TABLE enroll_tokens (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    hash      BLOB    NOT NULL UNIQUE,
    tenant    TEXT    NOT NULL,
    -- The camera's name, or with a count the beginning of its cameras' names.
    name      TEXT    NOT NULL,
    count     INTEGER CHECK (count > 0),
    title     TEXT,
    site      TEXT,
    timezone  TEXT    NOT NULL,
    record    TEXT    NOT NULL CHECK (record IN ('main', 'sub', 'off')),
    retention TEXT    NOT NULL,
    comment   TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    revoked   INTEGER NOT NULL CHECK (revoked IN (0, 1))
) STRICT;
CREATE INDEX enroll_tokens_of ON enroll_tokens (tenant, id);

-- Which key spent a token, and what it became. No reference to cameras: a token that was spent stays spent.
CREATE TABLE enrolled (
    token  INTEGER NOT NULL REFERENCES enroll_tokens (id),
    key    BLOB    NOT NULL,
    tenant TEXT    NOT NULL,
    name   TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;
