-- Times are milliseconds since the Unix epoch, UTC, unless they are timestamptz. The column stream_password is sealed by the envelope.

CREATE TABLE meta (
    name  text NOT NULL PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE users (
    login           text   NOT NULL PRIMARY KEY,
    tenant          text   NOT NULL,
    role            text   NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created         bigint NOT NULL,
    password_hash   text   NOT NULL,
    stream_password bytea  NOT NULL
);
CREATE INDEX users_of ON users (tenant);

-- The token itself is not stored, only its SHA-256 (rule S13).
CREATE TABLE web_sessions (
    token_hash bytea  NOT NULL PRIMARY KEY,
    login      text   NOT NULL REFERENCES users (login) ON DELETE CASCADE,
    opened     bigint NOT NULL,
    used       bigint NOT NULL
);
CREATE INDEX web_sessions_of ON web_sessions (login);

CREATE TABLE audit (
    ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      bigint NOT NULL,
    tenant  text   NOT NULL,
    actor   text   NOT NULL,
    event   text   NOT NULL,
    subject text   NOT NULL
);
CREATE INDEX audit_of ON audit (tenant, ordinal);
CREATE INDEX audit_events ON audit (event, ordinal);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only';
END
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- Whose rows changed, in the order in which it became visible: what the other front doors follow. Kept for an hour.
CREATE TABLE people_changes (
    ordinal bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    login   text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Written by triggers, so that what somebody changes by hand is followed too. The lock, which ends with the transaction, gives the numbers in
-- the order of the commits: whoever has read up to a number misses nothing before it.
CREATE FUNCTION people_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(5570193308531093872);
    IF TG_OP = 'DELETE' THEN
        INSERT INTO people_changes (login) VALUES (OLD.login);
    ELSE
        INSERT INTO people_changes (login) VALUES (NEW.login);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER people_changed AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION people_changed();
CREATE TRIGGER people_changed AFTER INSERT OR DELETE ON web_sessions
    FOR EACH ROW EXECUTE FUNCTION people_changed();
