-- Times are milliseconds since the Unix epoch, UTC. Secrets (BLOB columns named password, stream_password) are sealed by the envelope.

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cameras (
    tenant    TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    title     TEXT    NOT NULL,
    site      TEXT,
    timezone  TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    access    TEXT    NOT NULL,
    record    TEXT    NOT NULL CHECK (record IN ('main', 'sub', 'off')),
    retention TEXT    NOT NULL,
    enabled   TEXT    NOT NULL CHECK (enabled IN ('yes', 'disabled', 'stolen')),
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE sources (
    tenant      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    source      TEXT    NOT NULL CHECK (source IN ('main', 'sub')),
    path        TEXT,
    login       TEXT,
    password    BLOB,
    allow_basic INTEGER NOT NULL CHECK (allow_basic IN (0, 1)),
    PRIMARY KEY (tenant, name, source),
    FOREIGN KEY (tenant, name) REFERENCES cameras (tenant, name) ON DELETE CASCADE,
    CHECK ((login IS NULL) = (password IS NULL))
) STRICT, WITHOUT ROWID;

-- A key belongs to one camera (rule S2); compared as bytes.
CREATE TABLE camera_keys (
    ordinal INTEGER PRIMARY KEY,
    key     BLOB    NOT NULL UNIQUE,
    tenant  TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    added   INTEGER NOT NULL,
    comment TEXT    NOT NULL,
    FOREIGN KEY (tenant, name) REFERENCES cameras (tenant, name) ON DELETE CASCADE
) STRICT;
CREATE INDEX camera_keys_of ON camera_keys (tenant, name);

-- No reference to cameras: a generation outlives the camera's record, so that a name that returns never repeats one.
CREATE TABLE claims (
    tenant     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    session    INTEGER,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE memories (
    tenant TEXT NOT NULL,
    name   TEXT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (tenant, name),
    FOREIGN KEY (tenant, name) REFERENCES cameras (tenant, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    login           TEXT    NOT NULL PRIMARY KEY,
    tenant          TEXT    NOT NULL,
    role            TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created         INTEGER NOT NULL,
    password_hash   TEXT    NOT NULL,
    stream_password BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- The token itself is not stored, only its SHA-256 (rule S13).
CREATE TABLE web_sessions (
    token_hash BLOB    NOT NULL PRIMARY KEY,
    login      TEXT    NOT NULL REFERENCES users (login) ON DELETE CASCADE,
    opened     INTEGER NOT NULL,
    used       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX web_sessions_of ON web_sessions (login);

CREATE TABLE audit (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    tenant  TEXT    NOT NULL,
    actor   TEXT    NOT NULL,
    event   TEXT    NOT NULL,
    subject TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_of ON audit (tenant, ordinal);
CREATE INDEX audit_events ON audit (event, ordinal);
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit is append-only');
END;
