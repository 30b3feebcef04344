"""The `hammerwork` command."""
