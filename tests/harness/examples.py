"""What must come of the examples, computed without them."""

from __future__ import annotations

import os
import subprocess

BILLED_METERS = 2000

TILE_PIXELS = 64
FEW_TILE_PIXELS = TILE_PIXELS * TILE_PIXELS // 100
"""A hundredth: on some processors a compiler joins multiplication and addition, which then round once, not twice."""

DEBIANS_PATH = f"/usr/bin:{os.environ['PATH']}"
"""Where programs are looked for so that those of Debian's packages come first."""


def expected_bills() -> dict[str, tuple[int, int]]:
    """Return kWh and cents by meter, as examples/electricity-bills has to store them: each kWh priced by itself."""
    bills, cents = {}, 900
    for kwh in range(BILLED_METERS):
        bills[f"meter-{kwh}"] = (kwh, cents)
        cents += 24 if kwh < 100 else 31 if kwh < 400 else 38
    return bills


def png_size(content: bytes) -> tuple[int, int]:
    """Return width and height of a PNG."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n"), content[:20]
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def wrong_tile_pixels(zoom: int, tile: int, content: bytes) -> int:
    """Return how many pixels of a tile by examples/fractal-tiles are not as they should be."""
    assert png_size(content) == (TILE_PIXELS, TILE_PIXELS)
    seen = _convert("png:-", "-depth", "8", "gray:-", given=content)
    row, column = divmod(tile, 2**zoom)
    pixel = 2.5 / (2**zoom * TILE_PIXELS)
    wanted = bytes(
        _shade(
            complex(
                -2 + pixel * (column * TILE_PIXELS + x + 0.5),
                -1.25 + pixel * (row * TILE_PIXELS + y + 0.5),
            )
        )
        for y in range(TILE_PIXELS)
        for x in range(TILE_PIXELS)
    )
    return sum(one != other for one, other in zip(seen, wanted, strict=True))


def _shade(point: complex) -> int:
    z = 0j
    for step in range(100):
        z = z * z + point
        if abs(z) > 2:
            return 255 - 2 * step
    return 0


def _convert(*arguments: str, given: bytes) -> bytes:
    environment = {**os.environ, "PATH": DEBIANS_PATH}
    done = subprocess.run(
        ["convert", *arguments], input=given, env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
