"""A program of a `stream` handler that does nothing with its jobs but to complete them."""

from __future__ import annotations

import json
import sys

for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"]}), flush=True)
