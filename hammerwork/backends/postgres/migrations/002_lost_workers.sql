-- least version: 2
-- Of each job that has lost its worker: the last two of them, instead of the last one and a count. Whoever called a function
-- for the count must not go on, so all functions go; those of this version come after the migrations.

ALTER TABLE hammerwork_chunks DROP COLUMN IF EXISTS losses, ADD COLUMN IF NOT EXISTS lost_before uuid;

DROP INDEX IF EXISTS hammerwork_chunks_lost;
CREATE INDEX IF NOT EXISTS hammerwork_chunks_lost_by ON hammerwork_chunks (lost_by) WHERE lost_by IS NOT NULL;
CREATE INDEX IF NOT EXISTS hammerwork_chunks_lost_before ON hammerwork_chunks (lost_before) WHERE lost_before IS NOT NULL;

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT oid FROM pg_proc WHERE proname LIKE 'hammerwork\_%' AND pg_function_is_visible(oid) LOOP
        EXECUTE 'DROP FUNCTION ' || f;
    END LOOP;
END $$;
