-- Rings between servers carry events. The secret of an epoch seals them: only a role that may read this table
-- can open and make them.

-- +goose Up
-- The default comes in a later statement, because a table that is rewritten has rows with another xmin, which do
-- not count. So an epoch that has begun before has no secret, and its servers read each other's events.
ALTER TABLE epochs ADD COLUMN secret bytea;
ALTER TABLE epochs ALTER COLUMN secret
    SET DEFAULT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));
COMMENT ON COLUMN epochs.secret IS 'seals what servers tell each other in this epoch';
