"""How a handler is found, and what is said when it is not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from hammerwork import HandlerError
from hammerwork.handlers.functions import is_async
from hammerwork.handlers.python import load_function

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, text: str, name: str = "handlers.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize("spec", ["", "handlers", ":send", "handlers:", ":"])
def test_a_spec_names_a_place_and_a_function(spec: str) -> None:
    with pytest.raises(HandlerError) as caught:
        load_function(spec)
    assert str(caught.value) == f"handler {spec!r}: must be module:function or path/to/file.py:function"


def test_a_function_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "def send(job):\n    return 'sent'\n", "mail_handlers_of_a_module.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_function("mail_handlers_of_a_module:send")(None) == "sent"  # type: ignore[arg-type]


def test_a_function_of_a_file(tmp_path: Path) -> None:
    place = write(tmp_path, "async def send(job):\n    pass\n")
    assert is_async(load_function(f"{place}:send"))


def test_a_method_within_a_file(tmp_path: Path) -> None:
    place = write(tmp_path, "class Mail:\n    @staticmethod\n    def send(job):\n        return 'sent'\n")
    assert load_function(f"{place}:Mail.send")(None) == "sent"  # type: ignore[arg-type]


def test_a_file_may_have_dataclasses_with_postponed_annotations(tmp_path: Path) -> None:
    place = write(
        tmp_path,
        "from __future__ import annotations\nimport dataclasses, pickle, typing\n"
        "@dataclasses.dataclass\nclass Mail:\n    kind: typing.ClassVar[str] = 'm'\n    to: str = 'a'\n"
        "def send(job):\n    return pickle.loads(pickle.dumps(Mail())).to\n",
    )
    assert load_function(f"{place}:send")(None) == "a"  # type: ignore[arg-type]


def test_files_of_the_same_name_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    handlers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        place = write(tmp_path / name, f"def send(job):\n    return {name!r}\n")
        handlers.append(load_function(f"{place}:send"))
    assert [handler(None) for handler in handlers] == ["one", "two"]  # type: ignore[arg-type]


def test_a_file_does_not_hide_a_module_of_its_name(tmp_path: Path) -> None:
    place = write(tmp_path, "def send(job):\n    pass\n", "json.py")
    real = sys.modules["json"]
    load_function(f"{place}:send")
    assert sys.modules["json"] is real


@pytest.mark.parametrize(
    ("text", "function", "message"),
    [
        ("", "send", "has no 'send'"),
        ("send = 7", "send", "int, not a function"),
        ("def send():\n    pass", "send", "must take one argument, the job: too many positional arguments"),
        ("def send(job, more):\n    pass", "send", "must take one argument, the job: missing a required argument"),
        ("1 / 0", "send", "raised ZeroDivisionError: division by zero"),
        ("def send(:", "send", "raised SyntaxError"),
        ("import no_such_module_anywhere", "send", "raised ModuleNotFoundError: No module named"),
        (
            "import sys\nsys.exit()",
            "send",
            "called sys.exit(None); put what only a program of its own should do under: if",
        ),
        ("raise SystemExit(0)", "send", "called sys.exit(0)"),
        ("raise GeneratorExit", "send", "raised GeneratorExit"),
        ("class Stop(BaseException): ...\nraise Stop('no')", "send", "raised Stop: no"),
        (
            "def send(job):\n    yield",
            "send",
            "it has a 'yield' in it, so a call would make a generator and run nothing",
        ),
        ("async def send(job):\n    yield", "send", "it has a 'yield' in it"),
        ("class Mail:\n    def __call__(self, job):\n        yield\nsend = Mail()", "send", "it has a 'yield' in it"),
        ("class Mail:\n    async def send(self, job):\n        yield\nsend = Mail().send", "send", "a 'yield' in it"),
        ("import functools\ndef f(a, job):\n    yield\nsend = functools.partial(f, 1)", "send", "a 'yield' in it"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, text: str, function: str, message: str) -> None:
    place = write(tmp_path, text)
    with pytest.raises(HandlerError) as caught:
        load_function(f"{place}:{function}")
    assert str(caught.value).startswith(f"handler {f'{place}:{function}'!r}: ")
    assert message in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(HandlerError, match=r"no file .*nowhere\.py"):
        load_function(f"{tmp_path}/nowhere.py:send")


def test_a_missing_module_is_told_with_the_places_searched() -> None:
    with pytest.raises(HandlerError, match=r"no module 'no_such_module_anywhere'; looked in '.*' and the installed"):
        load_function("no_such_module_anywhere:send")


def test_a_module_that_fails_to_import_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "raise RuntimeError('no configuration')", "handlers_that_fail.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HandlerError, match="importing 'handlers_that_fail' raised RuntimeError: no configuration"):
        load_function("handlers_that_fail:send")


def test_a_module_that_would_end_the_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "import sys\nsys.exit(0)", "handlers_that_exit.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(HandlerError, match=r"importing 'handlers_that_exit' called sys\.exit\(0\)"):
        load_function("handlers_that_exit:send")


def test_ctrl_c_during_an_import_still_interrupts(tmp_path: Path) -> None:
    place = write(tmp_path, "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_function(f"{place}:send")


def test_functions_written_in_c_are_taken_on_trust() -> None:
    assert load_function("builtins:print") is print
