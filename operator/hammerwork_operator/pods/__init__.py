"""Worker Pods: seen, what is wrong with them, what their workers leave behind, and which of them may go first.

`observed` is what is kept of a Pod; `causes` tells why it does not work, and `costs` which Pods a smaller pool does
without: these are pure. `watched` has the Pods of all pools, `events` what the cluster says of a Pod, `recovering` has
the claims of those that are gone recovered, and `marking` writes the costs.
"""
