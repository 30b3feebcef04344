-- Retries of chosen jobs, and of whoever asks for each by its number.

ALTER TABLE hammerwork_batches
    -- Number of the last retry, as whoever asks for retries counts them.
    ADD COLUMN IF NOT EXISTS retry_attempt integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS retried_at timestamptz,
    -- While the batch is Retrying: which failed jobs become chunks again, as JSON; null: all. The next index to look at.
    ADD COLUMN IF NOT EXISTS retry_chosen text,
    ADD COLUMN IF NOT EXISTS retry_from integer NOT NULL DEFAULT 0;
