"""Tells errors that a database driver raised from those of our own code and of the user's."""

from __future__ import annotations

import ssl
import sys
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hammerwork.errors import HammerworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hammerwork.backends.urls import DatabaseURL
    from hammerwork.errors import DatabaseError

_DRIVERS = {"aiomysql", "asyncpg", "pymysql"}
_BESIDE = {"uvloop"}


def raised_by_driver(error: BaseException) -> bool:
    """Return whether a driver raised this, itself or by what it called in the standard library.

    Drivers raise what they please: ValueError for an answer they do not understand, struct.error for one cut short,
    UnicodeError, KeyError. The same types from our code are faults that must be seen.
    """
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    for module in reversed(frames):
        package = module.partition(".")[0]
        if package not in sys.stdlib_module_names and package not in _BESIDE:
            return package in _DRIVERS
    return False


def is_about_certificates(error: BaseException | None) -> bool:
    """Return whether TLS failed for a reason that stays: a certificate or key, ours or the server's."""
    return isinstance(error, ssl.SSLCertVerificationError) or (
        isinstance(error, ssl.SSLError) and any(word in str(error) for word in ("CERT", "PEM", "KEY_", "X509"))
    )


def words(error: BaseException) -> str:
    """Return what an error says, on one line, or its type if it says nothing."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    return " ".join(str(error.args[-1] if error.args else error).split()) or type(error).__name__


@contextmanager
def translating(
    address: str,
    url: DatabaseURL,
    *,
    judge: Callable[[Exception], tuple[type[DatabaseError] | None, str]],
    code: Callable[[Exception], str | int | None],
) -> Iterator[None]:
    """Raise a `DatabaseError` for whatever a driver raises within the block; faults of other code pass.

    Args:
        address: What messages call the database.
        url: Its URL, no secret of which is shown: a cause that holds one is left out.
        judge: Returns what an error means, None if no driver raised it, and what it says.
        code: Returns the server's code of an error.
    """
    try:
        yield
    except HammerworkError:
        raise
    except Exception as error:
        kind, said = judge(error)
        if kind is None:
            raise
        told = kind(f"database {address}: {url.redact(said)}")
        told.code = code(error)
        texts = f"{error} {error.__cause__}"
        raise told from (error if url.redact(texts) == texts else None)
