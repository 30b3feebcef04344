"""What every process of ours has: logs, probes, settings from the environment, an event loop, an end.

Only programs import it; a library does not decide on these for the process that it is part of.
"""
