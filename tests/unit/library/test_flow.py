"""What the driver gets of answers that come to more than a block, message by message."""

from __future__ import annotations

import asyncio
from struct import pack, unpack_from

import pytest

from hammerwork.backends.postgres.flow import FlowControl
from hammerwork.backends.querying import BLOCK_BYTES, MAX_ROW_BYTES


def sent(kinds: str) -> bytes:
    """Return messages of the server; two rows are more than a block."""
    sizes = [BLOCK_BYTES // 2 if kind == "D" else 9 for kind in kinds]
    return b"".join(pack(">cI", kind.encode(), size + 4) + bytes(size) for kind, size in zip(kinds, sizes, strict=True))


class Ends:
    """The transport and the driver."""

    def __init__(self) -> None:
        self.got = ""
        self.reading = True
        self.aborted = False

    def data_received(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            kind, length = unpack_from(">cI", data, start)
            self.got += kind.decode()
            start += 1 + length
        assert start == len(data), "a message is given in part"

    def set_protocol(self, _protocol: object) -> None:
        pass

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(
    ("server", "answers"),
    [
        ("DCZ", ["DCZ"]),
        ("DDCZ" + "CZ", ["DDsZ", "CZ"]),
        ("DDDCZ" + "CZ", ["DDsZ", "DCZ"]),
        ("DDDDsZ" + "DsZ" + "CZ", ["DDsZ", "DDsZ", "DCZ"]),
        ("DDDEZ" + "EZ" + "EZ", ["DDsZ", "DEZ", "EZ"]),
        ("EZ", ["EZ"]),
        # What belongs to no answer comes wherever it is sent.
        ("NDADNsSZ" + "NDACZ", ["NDADsZ", "NSNDACZ"]),
    ],
)
@pytest.mark.parametrize("step", [999, 10**9])
async def test_an_answer_goes_on_as_the_next_one(server: str, answers: list[str], step: int) -> None:
    ends = Ends()
    flow = FlowControl(ends, ends)
    bytes_left = sent(server)
    for answer in answers:
        ends.got = ""
        flow.ask()
        await asyncio.sleep(0)
        while bytes_left and not ends.got.endswith("Z"):
            flow.data_received(bytes_left[:step])
            bytes_left = bytes_left[step:]
        assert ends.got == answer


async def test_what_is_drained_comes_to_nobody_but_what_follows_does() -> None:
    ends = Ends()
    flow = FlowControl(ends, ends)
    flow.ask()
    flow.data_received(sent("DD" + "DNDEZ" + "SEZ"))
    assert (ends.got, flow.behind, ends.reading) == ("DDsZ", True, False)
    ends.got = ""
    flow.drain()
    await asyncio.sleep(0)
    assert (ends.got, flow.behind, ends.reading) == ("NSEZ", False, True)
    flow.data_received(sent("DDDDCZ"))
    assert ends.got == "NSEZ" + "DDDDCZ"


@pytest.mark.parametrize(("kind", "refused"), [("D", 2), ("N", 0)])
async def test_what_is_too_large_ends_the_connection_at_its_beginning(kind: str, refused: int) -> None:
    ends = Ends()
    flow = FlowControl(ends, ends)
    flow.ask()
    flow.data_received(sent("D") + pack(">cI", kind.encode(), MAX_ROW_BYTES + 1))
    assert ends.aborted
    assert flow.refused == (refused, MAX_ROW_BYTES + 1)
    flow.drain()
    await asyncio.sleep(0)
