"""The Kubernetes operator: JobBatch and WorkerPool objects in, rows, status and Deployments out."""
