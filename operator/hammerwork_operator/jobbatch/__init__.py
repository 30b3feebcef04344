"""JobBatch: seen, facts, plan, status.

`observed` is the object as it was seen last, with what it states itself; `facts` is what is known beside it, and
`gathering` gets that from the database. `plan` says what to do next and `status` what to say: two pure functions of the
same two values. `controller` carries out both, and `loading` does the one step that takes long. `memory` is what this
process keeps of one object; the next process starts without it.

The manifest is read twice: a million objects may wait, so `observed` keeps no jobs. Loading gets the object again and
checks by its fingerprint that it still has the jobs that were seen.
"""
