"""Spellings of YAML and JSON, and what kubectl makes of them."""

from __future__ import annotations

from typing import Any, Final

REFUSED: Final = object()
"""In place of a value: kubectl does not take it."""

HEAD = "apiVersion: hammerwork.io/v1alpha1\nkind: JobBatch\nmetadata: {name: x}\n"
JSON_HEAD = '"apiVersion": "hammerwork.io/v1alpha1", "kind": "JobBatch", "metadata": {"name": "x"}'

_LAUGHS = "".join(
    f"  {name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in ("ab", "bc", "cd", "de", "ef")
)

VALUES: list[tuple[str, Any]] = [
    # Booleans and null are what YAML 1.1 says.
    *((word, True) for word in ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE")),
    *((word, False) for word in ("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE")),
    *((word, word) for word in ("yEs", "oN", "tRUE", "nULL", "nil", "None")),
    *((word, None) for word in ("", "~", "null", "Null", "NULL", "!!null ''")),
    # Integers.
    ("0", 0), ("+0", 0), ("-0", 0),
    ("+1", 1), ("-17", -17), ("00", 0), ("07", 7), ("010", 8), ("-010", -8), ("0o17", 15), ("0O17", 15), ("-0o7", -7),
    ("0x1F", 31), ("0X1f", 31), ("-0x10", -16), ("0b101", 5), ("0B101", 5), ("-0b11", -3), ("0b102", "0b102"),
    ("1_000", 1000), ("1__0", 10), ("1_", 1), ("0x_1F", 31), ("0b1_0", 2), ("_1", "_1"), ("0x", "0x"), ("0o8", "0o8"),
    ("9223372036854775807", 9223372036854775807), ("9223372036854775808", 9223372036854776000),
    ("-9223372036854775808", -9223372036854775808), ("18446744073709551615", 18446744073709552000),
    ("123456789012345678901", 123456789012345680000), ("1234567890123456789012", 1.2345678901234568e21),
    ("0xFFFFFFFFFFFFFFFF", 18446744073709552000), ("0x1FFFFFFFFFFFFFFFF", "0x1FFFFFFFFFFFFFFFF"),
    # Floats; what is whole becomes an integer, what starts with 0 and is no octal number is decimal.
    ("1.0", 1), ("-0.0", 0), ("5.", 5), (".5", 0.5), ("-.5", -0.5), ("+.5", 0.5), ("1e3", 1000), ("1E+3", 1000),
    ("1e-3", 0.001), ("1.5e3", 1500), ("08", 8), ("-08", -8), ("09e1", 90), ("1_0.5", 10.5), (".1_0", 0.1),
    ("1e20", 100000000000000000000), ("1e21", 1e21), ("0.0000001", 1e-7), ("1e400", "1e400"), ("1e", "1e"),
    (".e5", ".e5"), ("1.2.3", "1.2.3"), ("1,000", "1,000"), ("Infinity", "Infinity"), ("nan", "nan"),
    *((word, REFUSED) for word in (".nan", ".NaN", ".inf", "-.inf", "+.Inf")),
    # No time of the day in base 60, no date, no merge, no default.
    ("12:30", "12:30"), ("12:30:45", "12:30:45"), ("2024-01-15", "2024-01-15"),
    ("2024-01-15T10:00:00Z", "2024-01-15T10:00:00Z"), ("=", "="), ("<<", "<<"), ("192.168.0.1", "192.168.0.1"),
    # Quotes, tags, blocks.
    ('"yes"', "yes"), ("'1'", "1"), ('"~"', "~"), ("''", ""), ("'it''s'", "it's"), ('"\\u00e9\\x41"', "éA"),
    ('"a\\/b"', REFUSED), ("!!str 1", "1"), ('!!int "3"', 3), ("!!int 3.5", REFUSED), ("!!float 1", 1),
    ("!!bool yes", True), ("!!bool maybe", REFUSED), ("!!binary aGVsbG8=", "hello"), ("!!binary '%'", REFUSED),
    ("!local 3", "3"), ("!!set {a, b}", {"a": None, "b": None}), ("|\n    a\n    b\n", "a\nb\n"),
    (">-\n    a\n    b\n", "a b"), ("a #b", "a"), ("a#b", "a#b"), ("@a", REFUSED), ("%a", REFUSED), ("`a", REFUSED),
    # Lists and mappings.
    ("[1, [yes], {a: 08}]", [1, [True], {"a": 8}]), ("[a,]", ["a"]), ("[a: b]", [{"a": "b"}]), ("{a:1}", {"a:1": None}),
    ("[http://x/?q=1]", REFUSED), ("['http://x/?q=1']", ["http://x/?q=1"]), ("http://x/?q=1", "http://x/?q=1"),
    ("{{ index }}", REFUSED), ("'{{ index }}'", "{{ index }}"), ("file_{{ index }}", "file_{{ index }}"),
    ("\n  - 1\n  - 2", [1, 2]), ("\n\t- 1", REFUSED), ("\t1", 1), ("[\t1]", [1]), ("a: b", REFUSED),
    # Keys that are no text become one, or are refused.
    ("{1: a}", {"1": "a"}), ("{y: a}", {"true": "a"}), ("{off: a}", {"false": "a"}), ("{010: a}", {"8": "a"}),
    ("{1.5: a}", {"1.5": "a"}), ("{1e3: a}", {"1000": "a"}), ("{1e6: a}", {"1e+06": "a"}), ("{.inf: a}", {".inf": "a"}),
    ("{0.00001: a}", {"1e-05": "a"}), ("{1.23456789: a}", {"1.2345679": "a"}), ("{2024-01-15: a}", {"2024-01-15": "a"}),
    ("{12:30: a}", {"12:30": "a"}), ("{~: a}", REFUSED), ("{[1]: a}", REFUSED), ("{{b: 1}: a}", REFUSED),
    ("{18446744073709551615: a}", REFUSED), ("{a: 1, a: 2}", {"a": 2}),
    # Anchors and merges; a merge wins over what stands before it.
    ("[&a {b: 1}, *a]", [{"b": 1}, {"b": 1}]), ("[*nowhere]", REFUSED), ("&a [*a]", REFUSED),
    ("[&a {b: 1}, {<<: *a, c: 2}]", [{"b": 1}, {"b": 1, "c": 2}]),
    ("[&a {b: 1}, {<<: *a, b: 2}]", [{"b": 1}, {"b": 2}]),
    ("[&a {b: 1}, {b: 2, <<: *a}]", [{"b": 1}, {"b": 1}]), ("{<<: [{b: 1}, {b: 2, c: 3}]}", {"b": 1, "c": 3}),
    ("{<<: 1}", REFUSED), ("{'<<': 1}", {"<<": 1}), (f"\n  a: &a [{', '.join('x' * 9)}]\n{_LAUGHS}", REFUSED),
]  # fmt: skip
"""What follows `a: ` in a manifest's `spec`, and what the API server gets."""

FILES: list[tuple[bytes, Any]] = [
    *(
        (text.replace("HEAD", HEAD).encode(), expected)
        for text, expected in [
            ("HEADspec: 1\n---\nHEADspec: 2\n", [1, 2]),
            ("---\n# nothing\n---\nHEADspec: 1\n---\n", [1]),
            ("HEADspec: 1\n--- # two\nHEADspec: 2", [1, 2]),
            ("HEADspec: 1\n--- {spec: 2}\n", REFUSED),
            ("HEADspec: 1\n----\n", REFUSED),
            ("HEADspec: 1\n...\nHEADspec: 2\n", [1]),
            ("%YAML 1.1\n---\nHEADspec: 1\n", REFUSED),
            ("HEADspec: |\n  a\n  ---\n  b\n", ["a\n---\nb\n"]),
            ("HEADspec: 'a\n---\nb'\n", REFUSED),
            ("\ufeffHEADspec: 1\n", [1]),
            ("HEADspec: 1\nspec: 2\n", [2]),
            ("\tHEADspec: 1\n", REFUSED),
        ]
    ),
    *(
        (text.replace("HEAD", JSON_HEAD).encode(), expected)
        for text, expected in [
            ('{HEAD, "spec": [1.0, 1e3, 18446744073709551616, -0, 12]}', [[1, 1000, 18446744073709552000, 0, 12]]),
            ('{HEAD, "spec": 1}{HEAD, "spec": 2}\n{HEAD, "spec": 3}', [1, 2, 3]),
            ('{HEAD, "spec": 1}\n---\n{HEAD, "spec": y}\n', [1, True]),
            ('{HEAD, "spec": 1, "spec": 2}', [2]),
            ("{HEAD, spec: yes}", [True]),
            ('{HEAD, "spec": "a\\/b"}', ["a/b"]),
            ('{HEAD, "spec": "\\ud83d\\ude00"}', ["😀"]),
            ('{HEAD, "spec": 1,}', [1]),
            ('{HEAD, "spec": NaN}', ["NaN"]),
            ('{HEAD, "spec": 1e400}', REFUSED),
            ('{HEAD, "spec": 1}{HEAD, "spec": 2}{HEAD, spec: 3}', REFUSED),
            ('[{HEAD, "spec": 1}]', REFUSED),
            # A List is its items, and so is whatever has items; what has no kind gets that of the list.
            ('{"kind": "List", "apiVersion": "v1", "items": [{HEAD, "spec": 1}, {HEAD, "spec": 2}]}', [1, 2]),
            ('kind: List\nitems:\n- {HEAD, "spec": 1}\n---\n{HEAD, "spec": 2}', [1, 2]),
            ('{HEAD, "spec": 1, "items": [{HEAD, "spec": 2}]}', [2]),
            ('{"apiVersion": "a/v1", "kind": "BList", "items": [{"metadata": {}, "spec": 1}]}', [1]),
            ('{"kind": "List", "items": []}{"kind": "List", "items": null}', []),
            ('{"kind": "List", "items": {"0": 1}}', REFUSED),
            ('{"kind": "List", "items": [5]}', REFUSED),
            ('{"kind": "List", "items": [{"kind": "List", "apiVersion": "v1", "items": []}]}', REFUSED),
        ]
    ),
    (f"{HEAD}spec: a\r\n---\r\n{HEAD}spec: b\r\n".replace("\n", "\r\n").replace("\r\r", "\r").encode(), ["a", "b"]),
    (f"{HEAD}spec: é\n".encode("utf-16"), ["é"]),
    (f"{HEAD}spec: é\n".encode("latin-1"), ["\ufffd"]),
]
"""Whole files, and the `spec` of each object in them."""
