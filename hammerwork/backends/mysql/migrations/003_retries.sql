-- Retries of chosen jobs, and of whoever asks for each by its number.
--
-- retry_attempt: number of the last retry, as whoever asks for retries counts them. While the batch is Retrying, retry_chosen
-- tells which failed jobs become chunks again, as JSON (null: all), and retry_from the next index to look at.
SET @statement = IF((SELECT COUNT(*) FROM information_schema.columns
                     WHERE table_schema = DATABASE() AND table_name = 'hammerwork_batches' AND column_name = 'retry_from') = 0,
    'ALTER TABLE hammerwork_batches ADD COLUMN retry_attempt INT NOT NULL DEFAULT 0, ADD COLUMN retried_at DATETIME(6),
         ADD COLUMN retry_chosen MEDIUMTEXT, ADD COLUMN retry_from INT NOT NULL DEFAULT 0',
    'DO 0');
PREPARE migration FROM @statement;
EXECUTE migration;
DEALLOCATE PREPARE migration
