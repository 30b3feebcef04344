"""WorkerPool: seen, facts, plan, status, as of a JobBatch.

`observed` is the object as it was seen last; `facts` is what is known beside it, and `gathering` gets that from the API
server. `plan` says which Deployment there has to be, which `deployment` and `template` build, or what is in the way;
`status` says how far it is. All of these but `gathering` are pure. `controller` carries out.
"""
