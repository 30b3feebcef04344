"""WorkerPool: a Deployment of worker Pods for one queue."""
