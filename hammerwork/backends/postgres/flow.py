"""Bounds how much of a query's answer is in memory, whatever the server sends."""

from __future__ import annotations

import asyncio
import math
from struct import Struct
from typing import Any

from hammerwork.backends.querying import BLOCK_BYTES, MAX_ROW_BYTES

_HEADER = Struct(">cI")
_ROW, _READY, _ERROR = b"D", b"Z", b"E"
_AT_ANY_TIME = {b"A", b"N", b"S"}
"""Notifications, notices and settings that have changed are of no answer."""
_SUSPENDED = b"s\x00\x00\x00\x04Z\x00\x00\x00\x05T"
"""What a server says after as many rows as it was asked for: portal suspended, ready for the next message."""
_FAILED = b"Z\x00\x00\x00\x05E"


class FlowControl(asyncio.Protocol):
    """Stands between a connection and the driver, which keeps an answer until all rows that it asked for are there.

    When the rows of an answer have come to `BLOCK_BYTES`, it ends the answer in the server's place; what comes after
    stays in the network, and is the beginning of the next answer. The server's own ends of such answers come later, and
    are left out. A message above `MAX_ROW_BYTES` ends the connection before it is read.
    """

    def __init__(self, transport: Any, driver: Any) -> None:
        self._transport = transport
        self._driver = driver
        self._rest = bytearray()
        self._open = True
        self._draining = False
        self._left: float = math.inf
        self._owed = 0
        """Answers that have been ended here, and not yet by the server."""
        self._rows = 0
        self.refused: tuple[int, int] | None = None
        """Number (0: it is no row) and bytes of the row for which the connection was ended."""
        transport.set_protocol(self)

    @property
    def behind(self) -> bool:
        """Whether the server is still at what was asked for before."""
        return self._owed > 0

    def ask(self) -> None:
        """Let the rows of the next answer through; to be called right before they are asked for."""
        self._left = BLOCK_BYTES
        self._go_on()

    def drain(self) -> None:
        """Read the rest of the answers that were ended here without a look, and let all that comes after through."""
        self._left, self._draining = math.inf, True
        self._go_on()

    def _go_on(self) -> None:
        if not self._open and not self._transport.is_closing():
            self._open = True
            self._transport.resume_reading()
            asyncio.get_running_loop().call_soon(self._pass)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._rest += data
        self._pass()

    def _pass(self) -> None:
        """Give the driver all whole messages that it may have."""
        rest, start, end = self._rest, 0, 0
        while self._open and len(rest) - end >= _HEADER.size:
            kind, length = _HEADER.unpack_from(rest, end)
            if length > MAX_ROW_BYTES:
                self._refuse(kind, length)
                return
            after = end + 1 + length
            if len(rest) < after:
                break
            if self._owed and not self._is_wanted(kind):
                self._give(start, end)
                start = after
            elif kind == _ROW:
                self._rows += self._left < math.inf  # those of other statements are no rows of the query
                self._left -= length
                if self._left <= 0:
                    self._end_answer(start, after, _SUSPENDED)
                    start = after
            elif kind == _ERROR and self._owed:
                self._end_answer(start, after, _FAILED)
                start = after
            end = after
        self._give(start, end)
        del rest[:end]

    def _is_wanted(self, kind: bytes) -> bool:
        """Return whether the driver gets a message of an answer that was ended here."""
        if kind == _READY:
            self._owed -= 1
        return kind in _AT_ANY_TIME or (kind in {_ROW, _ERROR} and not self._draining)

    def _end_answer(self, start: int, after: int, end: bytes) -> None:
        self._owed += 1
        self._open = False
        self._transport.pause_reading()
        self._driver.data_received(bytes(self._rest[start:after]) + end)

    def _give(self, start: int, end: int) -> None:
        if start < end:
            self._driver.data_received(bytes(self._rest[start:end]))

    def _refuse(self, kind: bytes, size: int) -> None:
        self.refused = (self._rows + 1 if kind == _ROW else 0, size)
        self._open = False
        self._rest.clear()
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._driver.connection_lost(error)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._driver.resume_writing()
