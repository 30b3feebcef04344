"""A real one-node Kubernetes for tests: ``python -m tests.cluster --help``; docs/test-cluster.md tells how it works."""
