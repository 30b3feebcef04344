"""JobBatch: what is observed, what follows from it, and how it is carried out."""
