-- Who chose what is recorded: 'owner', 'auto' (main, unless the uplink is too slow) or 'uplink' (moved to sub by the server). What is there stays as it is.
ALTER TABLE cameras ADD COLUMN record_by TEXT NOT NULL DEFAULT 'owner';
-- The server to which the camera takes its stream, as JSON.
ALTER TABLE cameras ADD COLUMN streampoint TEXT;
ALTER TABLE enroll_tokens ADD COLUMN record_by TEXT NOT NULL DEFAULT 'owner';
