"""A program as a `stream` handler runs it: it does with each job what the payload's `do` says."""

from __future__ import annotations

import sys

PROGRAM = r"""
import json, os, signal, sys, time

def tell(**outcome):
    print(json.dumps(outcome), flush=True)

held = []
for line in sys.stdin:
    job = json.loads(line)
    name, do = job["id"], job["payload"]["do"]
    if do == "echo":
        tell(id=name, result=job)
    elif do == "fail":
        tell(id=name, error=job["payload"]["error"])
    elif do == "die once" and job["attempt"] == 1 or do == "die":
        print("about to die", file=sys.stderr, flush=True)
        os._exit(3)
    elif do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("hangs", file=sys.stderr, flush=True)
        while True:
            time.sleep(1)
    elif do == "hold":
        held.append(name)
    elif do == "release":
        for other in [name, *reversed(held)]:
            tell(id=other, result=os.getpid())
        held.clear()
    elif do == "say":
        for text in job["payload"]["lines"]:
            print(text.replace("ID", name), flush=True)
    elif do == "long":
        print("x" * 5_000_000, flush=True)
    elif do == "mute":
        os.close(1)
    elif do == "deaf":
        os.close(0)
        time.sleep(1000)
    else:
        tell(id=name, result=os.getpid())
print("end of input", file=sys.stderr, flush=True)
"""

COMMAND = [sys.executable, "-S", "-c", PROGRAM]
