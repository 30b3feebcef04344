"""What must come of the examples, computed without them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BILLED_METERS = 2000
RECEIPTS = 1000
THUMBNAILS = {
    f"{stem}-{size}.png": (f"{stem}.{suffix}", size)
    for stem, suffix in (("rose", "png"), ("granite", "png"), ("logo", "gif"), ("wizard", "jpg"))
    for size in (32, 64)
}
"""Names of pictures and the pixels of the longer side, by the names of their thumbnails."""

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


def wrong_receipts(receipts: dict[str, str]) -> dict[str, str | None]:
    """Return what is wrong with receipts by examples/receipts, by the names of their files; None: it is missing."""
    wanted = {f"{number}.txt": f"Receipt {number}: {number},99\N{NO-BREAK SPACE}€" for number in range(RECEIPTS)}
    names = wanted.keys() | receipts.keys()
    seen = {name: receipts.get(name, "").strip() for name in names}
    return {name: receipts.get(name) for name in names if seen[name] != wanted.get(name)}


def wrong_thumbnails(pictures: Path, thumbnails: dict[str, bytes]) -> dict[str, str]:
    """Return what is wrong with thumbnails by examples/thumbnails, by their names."""
    found = dict.fromkeys(THUMBNAILS.keys() - thumbnails.keys(), "is missing")
    found |= dict.fromkeys(thumbnails.keys() - THUMBNAILS.keys(), "is one too many")
    for name in THUMBNAILS.keys() & thumbnails.keys():
        picture, size = THUMBNAILS[name]
        width, height = png_size(thumbnails[name])
        difference = _difference(pictures / picture, thumbnails[name], f"{width}x{height}!")
        # Another way to scale differs by up to 0.03, another picture by 0.3.
        if max(width, height) != size or difference > 0.05:
            found[name] = f"{width} x {height} pixels, differs by {difference}"
    return found


def png_size(content: bytes) -> tuple[int, int]:
    """Return width and height of a PNG."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n"), content[:20]
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def _difference(picture: Path, thumbnail: bytes, geometry: str) -> float:
    """Return the root of the mean square of the pixels' differences, from 0 to 1."""
    compare = ["-metric", "RMSE", "-compare", "-format", "%[distortion]", "info:"]
    return float(_convert(str(picture), "-scale", geometry, "png:-", *compare, given=thumbnail))


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
