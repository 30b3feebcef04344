"""The command `hammerwork`: runs manifests and workers on this machine, looks into a database and steers it."""
