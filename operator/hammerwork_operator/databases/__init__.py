"""From the Secret that an object names to a queue whose batches are followed."""
