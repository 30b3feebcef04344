"""Handlers as functions: which are async, and what messages call them."""

from __future__ import annotations

import functools
from typing import Any

from hammerwork.handlers.functions import handler_name, is_async


async def _async(job: Any, extra: int = 0) -> None: ...


class _AsyncObject:
    async def __call__(self, job: Any) -> None: ...


def test_async_handlers_are_told_from_plain_ones() -> None:
    assert is_async(_async)
    assert is_async(functools.partial(_async, extra=1))
    assert is_async(_AsyncObject())
    assert is_async(functools.partial(_AsyncObject()))
    assert is_async(_AsyncObject().__call__)
    assert not is_async(print)
    assert not is_async(lambda _job: None)
    assert not is_async(_AsyncObject)


def test_messages_call_a_handler_by_its_module_and_name() -> None:
    assert handler_name(_async) == f"{__name__}:_async"
    assert handler_name(functools.partial(_async, extra=1)) == f"{__name__}:_async"
    assert handler_name(_AsyncObject()) == f"{__name__}:_AsyncObject"
    assert handler_name(print) == "builtins:print"
