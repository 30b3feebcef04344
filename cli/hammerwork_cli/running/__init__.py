"""What `hammerwork run` does: manifests from files, their functions, and a run of all of it in this process."""
