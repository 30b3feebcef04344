"""What runs in a worker container: the environment becomes a `hammerwork.Worker` with probes and metrics."""
