"""Reads the mail server's list from standard input; fails unless every address of the examples has exactly one mail."""
# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from hammerwork_cli.running.documents import read_documents

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "welcome-emails"


def expected_addresses() -> set[str]:
    """Return the addresses that the example's batches write to."""
    (batch,) = read_documents((EXAMPLE / "batch.yaml").read_bytes())
    generate = batch["spec"]["generate"]
    template: str = generate["payload"]["to"]
    addresses = {template.replace("{{ index }}", str(index)) for index in range(generate["count"])}
    (newsletter,) = read_documents((EXAMPLE / "newsletter.yaml").read_bytes())
    return addresses | {job["payload"]["to"] for job in newsletter["spec"]["jobs"]}


def main() -> int:
    """Compare, tell and return the exit status."""
    messages = json.load(sys.stdin)["messages"]
    received = Counter(recipient for message in messages for recipient in message["recipients"])
    expected = expected_addresses()
    complaints = (
        ("without a mail", expected - received.keys()),
        ("that nobody wrote to", received.keys() - expected),
        ("with more than one mail", {address for address, count in received.items() if count > 1}),
    )
    print(f"{len(messages)} mails to {len(received)} addresses, {len(expected)} expected")
    wrong = [(what, addresses) for what, addresses in complaints if addresses]
    for what, addresses in wrong:
        print(f"{len(addresses)} addresses {what}, e.g. {min(addresses)}", file=sys.stderr)
    if not wrong:
        print("every address got exactly one")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
