-- least version: 2
-- Of each job that has lost its worker: the last two of them, instead of the last one and a count.
SET @statement = IF((SELECT COUNT(*) FROM information_schema.columns
                     WHERE table_schema = DATABASE() AND table_name = 'hammerwork_chunks' AND column_name = 'lost_before') = 0,
    'ALTER TABLE hammerwork_chunks DROP COLUMN losses, ADD COLUMN lost_before BINARY(16),
         RENAME INDEX hammerwork_chunks_lost TO hammerwork_chunks_lost_by,
         ADD KEY hammerwork_chunks_lost_before (lost_before)',
    'DO 0');
PREPARE migration FROM @statement;
EXECUTE migration;
DEALLOCATE PREPARE migration
