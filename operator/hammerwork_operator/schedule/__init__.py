"""JobBatchSchedule: seen, facts, plan, status, as for JobBatch.

`observed` is the object as it was seen last, without its template; `facts` are its JobBatches, which `gathering` lists
whenever something has to be decided. `cron` knows the times of an expression, `due` what follows from them at a given
moment; `plan` says what to make and to delete, `status` what to say, and `template` what a JobBatch is made of. The
memory that counts is in the objects: a JobBatch is named after its scheduled minute, so that whoever makes it again is
told that it is there. `memory` keeps only what was said, and what need not be tried again at once.
"""
