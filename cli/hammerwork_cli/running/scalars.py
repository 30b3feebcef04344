"""What a scalar of YAML means to kubectl: resolved as go-yaml v2 does, then JSON as Go and the API server write it."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from decimal import Decimal

TAG = "tag:yaml.org,2002:"
MERGE = "<<"

_MIN_INT64, _MAX_INT64, _MAX_UINT64 = -(2**63), 2**63 - 1, 2**64 - 1
_MIN_EXPONENT_OF_JSON = 21
"""Below 10 to this power, Go writes a float that is whole without an exponent; who reads it takes it for an integer."""
_EXPONENTS_OF_KEYS = (-4, 6)
"""From the first on and below the second, Go writes a key that is a float without an exponent."""

_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_NUMBER_STARTS = frozenset("+-0123456789")
_DIGITS = (
    (re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)"), 16),
    (re.compile(r"([-+]?)0[bB]([01]+)"), 2),
    (re.compile(r"([-+]?)0[oO]?([0-7]+)"), 8),
    (re.compile(r"([-+]?)(0|[1-9][0-9]{0,19})"), 10),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_POINT_FIRST = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+(_[0-9]+)*)?")
_TAGGED: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "null": (type(None),),
}


def resolve(text: str, tag: str | None) -> object:
    """Return what a plain scalar stands for: None, a bool, an int, a float or a text.

    Raises:
        ValueError: It is not what its tag says.
    """
    if tag is None:
        return _plain(text)
    kind = tag.removeprefix(TAG)
    if kind == "binary":
        return _binary(text)
    if kind not in _TAGGED:
        return text
    value = _plain(text)
    if type(value) not in _TAGGED[kind]:
        raise ValueError(f"{text!r} is no !!{kind}")
    return float(value) if kind == "float" and isinstance(value, int) else value


def json_value(value: object) -> object:
    """Return a scalar as it is once it was written as JSON and read again: 1.0 is 1, and past int64 digits are lost.

    Raises:
        ValueError: It is infinite, or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, int):
        if _MIN_INT64 <= value <= _MAX_INT64:
            return value
        value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"JSON has no number {value}")
    if value.is_integer() and abs(value) < 10**_MIN_EXPONENT_OF_JSON:
        return int(Decimal(repr(value)))
    return value


def key_text(value: object) -> str:
    """Return the name of a field whose key was resolved to `value`.

    Raises:
        ValueError: It can be none: null, or an integer past int64.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value <= _MAX_INT64:
        return str(value)
    if isinstance(value, float):
        return _float32_text(value)
    raise ValueError(f"{'null' if value is None else value} cannot be a key")


def _plain(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        found = _float(text) if _POINT_FIRST.fullmatch(text) else None
    elif text[0] in _NUMBER_STARTS:
        found = _number(text.replace("_", ""))
    else:
        found = None
    return text if found is None else found


def _number(text: str) -> int | float | None:
    for pattern, base in _DIGITS:
        if match := pattern.fullmatch(text):
            sign, digits = match.groups()
            value = -int(digits, base) if sign == "-" else int(digits, base)
            if _MIN_INT64 <= value <= (_MAX_INT64 if sign else _MAX_UINT64):
                return value
    return _float(text) if _FLOAT.fullmatch(text) else None


def _float(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _binary(text: str) -> str:
    try:
        return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True).decode(errors="replace")
    except binascii.Error:
        raise ValueError("!!binary without base64") from None


def _float32_text(value: float) -> str:
    """Return what Go's FormatFloat(value, 'g', -1, 32) does: the fewest digits that tell a float of 32 bits."""
    (narrow,) = struct.unpack("f", struct.pack("f", value))
    if not math.isfinite(narrow):
        return ".nan" if math.isnan(narrow) else f"{'-' if narrow < 0 else ''}.inf"
    candidates = (f"{narrow:.{digits}e}" for digits in range(9))
    text = next(found for found in candidates if struct.pack("f", float(found)) == struct.pack("f", narrow))
    mantissa, exponent = text.split("e")
    if _EXPONENTS_OF_KEYS[0] <= int(exponent) < _EXPONENTS_OF_KEYS[1]:
        return f"{Decimal(text):f}"
    return f"{mantissa}e{exponent}"
