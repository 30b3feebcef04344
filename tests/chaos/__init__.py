"""The queue under fire: workers killed, servers restarted, networks cut; docs/chaos.md tells how it works."""
