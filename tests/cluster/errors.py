"""What goes wrong with a test cluster, said so that the reader knows what to do."""

from __future__ import annotations


class ClusterError(Exception):
    """A command could not do its work; the message names the object and the remedy."""


class AlreadyRunningError(ClusterError):
    """``up`` found a healthy cluster in the state folder."""
