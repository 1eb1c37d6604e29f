-- A token that another key used after it was spent: how often, and the last time.
ALTER TABLE enroll_tokens ADD COLUMN reused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE enroll_tokens ADD COLUMN reused_at INTEGER;
ALTER TABLE enroll_tokens ADD COLUMN reused_from TEXT;
ALTER TABLE enroll_tokens ADD COLUMN reused_key TEXT;
