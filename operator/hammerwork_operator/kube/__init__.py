"""What every kind of object needs of Kubernetes: a client, conditions, events, statuses, and a queue of reconciles."""
