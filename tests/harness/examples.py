"""What must come of the examples, computed without them."""

from __future__ import annotations

BILLED_METERS = 2000


def expected_bills() -> dict[str, tuple[int, int]]:
    """Return kWh and cents by meter, as examples/electricity-bills has to store them: each kWh priced by itself."""
    bills, cents = {}, 900
    for kwh in range(BILLED_METERS):
        bills[f"meter-{kwh}"] = (kwh, cents)
        cents += 24 if kwh < 100 else 31 if kwh < 400 else 38
    return bills
