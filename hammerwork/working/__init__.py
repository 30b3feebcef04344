"""The inside of a worker, which is best told as the story of a claim.

1. The `Pump` sees how many jobs its `Worker` wants, and asks the backend for so many, in the round trip that reports.
2. Each claim that comes back becomes a `HeldClaim`: its books, kept without I/O, by the offsets of its jobs.
3. `Holdings` has the claims of the worker. It offers the new one to the lanes that are idle.
4. One of the `Lanes` takes the next job of the first claim and calls the handler: on the event loop, in a context of
   its own (`calls`), or in one of the `HandlerThreads`. `Turns` holds further jobs back while a handler holds the loop.
5. The lane writes into the books how the job ended: completed, failed for good, to be tried again, or given back.
6. When all jobs have ended, or a second has passed, `Holdings` tells the pump, whose next round trip reports them.
7. The database answers for each claim: settled, stopped (give back what has not started) or lost (drop it).
8. Meanwhile the `Pulse` shows from a thread of its own that the worker lives, and which claims it holds.

`WorkerPool` is several workers in one process, `WorkerProcesses` several processes of one worker each;
`WorkerRun` is what such a process does, and a container: handler, database, worker.
"""
