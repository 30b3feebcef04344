"""Measures the queue, and other queues beside it on the same server; ``python -m benchmarks --help``."""
