"""Programs that run in processes of their own: what is measured must not share one with what measures."""
