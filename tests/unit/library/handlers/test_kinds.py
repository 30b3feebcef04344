"""The list of the kinds of handlers: image, command line and operator know no kind by name."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hammerwork import HandlerError, Job, handlers
from hammerwork.handlers import KINDS, HandlerReference, allowed_texts
from hammerwork.handlers.kinds import Field, Kind
from hammerwork.service.environment import SettingError
from hammerwork_cli.running.handlers import load_handler
from hammerwork_cli.running.manifests import PoolManifest
from hammerwork_worker.environment import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hammerwork.handlers import Handler

CONTAINER = {"HAMMERWORK_DATABASE_URL": "postgresql://db/hammerwork", "HAMMERWORK_QUEUE": "q"}


NAMES = " or ".join(kind.name for kind in KINDS)


class ScriptHandler(msgspec.Struct):
    """As a struct of the operator's API would describe it."""

    path: str
    arguments: list[str] = []


class ScriptSpec(msgspec.Struct):
    script: ScriptHandler


class PoolSpec(msgspec.Struct):
    handler: ScriptSpec
    template: dict[str, Any] = {}


def load_script(fields: Mapping[str, str], folder: Path | None) -> Handler:
    return lambda _job: (fields["path"], json.loads(fields.get("arguments", "[]")), folder)


SCRIPT = Kind(
    name="script",
    fields={
        "path": Field(
            variable="HAMMERWORK_SCRIPT", purpose="the script to run", allowed="a path ending in .sh", pattern=r".+\.sh"
        ),
        "arguments": Field(
            variable="HAMMERWORK_SCRIPT_ARGUMENTS", purpose="its arguments", allowed="a list in JSON", pattern=r"\[.*\]"
        ),
    },
    load=load_script,
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more kind in the list."""
    monkeypatch.setattr(handlers, "KINDS", (*KINDS, SCRIPT))


def run(handler: Any) -> Any:
    return handler(Job("q", {}))


def test_every_kind_and_variable_is_there_once() -> None:
    variables = [field.variable for kind in KINDS for field in kind.fields.values()]
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert len(set(variables)) == len(variables)
    assert all(name.startswith("HAMMERWORK_") for name in variables)
    for kind in KINDS:
        for field in kind.fields.values():
            re.compile(field.pattern or "")


def test_what_one_side_writes_into_the_environment_the_other_reads() -> None:
    reference = HandlerReference.from_manifest({"python": {"function": "handlers:run"}})
    assert reference.environment() == {"HAMMERWORK_HANDLER": "handlers:run"}
    assert read_settings({**CONTAINER, **reference.environment()}).handler == reference


@pytest.mark.usefixtures("script")
def test_a_kind_in_the_list_is_known_to_the_image() -> None:
    reference = HandlerReference.from_manifest({"script": {"path": "mail.sh", "arguments": ["-v"]}})
    assert reference.environment() == {"HAMMERWORK_SCRIPT": "mail.sh", "HAMMERWORK_SCRIPT_ARGUMENTS": '["-v"]'}
    settings = read_settings({**CONTAINER, **reference.environment()})
    assert run(settings.handler.load()) == ("mail.sh", ["-v"], None)


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {},
            (
                " or ".join(kind.fields[kind.main].variable for kind in (*KINDS, SCRIPT))
                + ": not set, must be "
                + " or ".join(kind.fields[kind.main].allowed for kind in (*KINDS, SCRIPT))
            ),
        ),
        (
            {"HAMMERWORK_HANDLER": "a:b", "HAMMERWORK_SCRIPT": "a.sh"},
            "HAMMERWORK_HANDLER and HAMMERWORK_SCRIPT: set together, must be one of them",
        ),
        ({"HAMMERWORK_SCRIPT": "a.py"}, "HAMMERWORK_SCRIPT: 'a.py', must be a path ending in .sh"),
        (
            {"HAMMERWORK_SCRIPT": "a.sh", "HAMMERWORK_SCRIPT_ARGUMENTS": "-v"},
            "HAMMERWORK_SCRIPT_ARGUMENTS: '-v', must be a list in JSON",
        ),
    ],
)
def test_the_image_says_what_is_wrong_with_the_variables_of_kinds(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({**CONTAINER, **environ})
    assert str(caught.value) == message


@pytest.mark.usefixtures("script")
def test_a_kind_in_the_list_is_known_to_the_command_line(tmp_path: Path) -> None:
    assert run(HandlerReference.from_text("mail.sh").load()) == ("mail.sh", [], None)
    assert allowed_texts() == (
        "module:function or path/to/file.py:function or 'exec:COMMAND ARGUMENT …' or 'stream:COMMAND ARGUMENT …' or "
        "http://HOST/PATH or a path ending in .sh"
    )
    spec: Any = msgspec.convert({"handler": {"script": {"path": "mail.sh"}}}, PoolSpec)
    pool = PoolManifest(path=tmp_path / "pool.yaml", namespace="default", name="p", spec=spec)
    assert run(load_handler(pool)) == ("mail.sh", [], tmp_path)


@pytest.mark.parametrize("text", ["handlers:run", "path/to/file.py:Mail.run", "a folder/file.py:run", "nonsense", ""])
def test_what_an_option_names_is_a_function_where_no_other_kind_knows_it(text: str) -> None:
    assert HandlerReference.from_text(text) == HandlerReference("python", {"function": text})


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(HandlerError, match=f"^handler of kind 'script': must be {NAMES}$"):
        HandlerReference("script", {"path": "mail.sh"}).load()


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("exec:true", ["true"]),
        ("exec: convert  {{ payload.in }} 'a b.png'", ["convert", "{{payload.in}}", "a b.png"]),
        ("exec:sh -c 'echo {{ index }}'", ["sh", "-c", "echo {{index}}"]),
    ],
)
def test_an_option_names_a_command_by_its_words(text: str, command: list[str]) -> None:
    reference = HandlerReference.from_text(text)
    assert (reference.kind, json.loads(reference.fields["command"])) == ("exec", command)


@pytest.mark.parametrize("url", ["http://localhost:8080/jobs", "https://user:p@host"])
def test_an_option_names_a_service_by_its_url(url: str) -> None:
    assert HandlerReference.from_text(url) == HandlerReference("http", {"url": url})


def test_an_option_names_a_process_that_stays() -> None:
    reference = HandlerReference.from_text("stream: node worker.js")
    assert reference == HandlerReference("stream", {"command": '["node","worker.js"]'})


def test_an_option_with_an_open_quotation_mark_is_refused() -> None:
    with pytest.raises(HandlerError, match=r"""^handler "exec:echo 'a": No closing quotation$"""):
        HandlerReference.from_text("exec:echo 'a")


@pytest.mark.parametrize(("spec", "seen"), [({}, "none"), ({"python": {}, "exec": {}}, "python and exec")])
def test_a_manifest_has_exactly_one_kind(spec: dict[str, Any], seen: str) -> None:
    with pytest.raises(HandlerError, match=f"^{seen} given, must be exactly one of {NAMES}$"):
        HandlerReference.from_manifest(spec)


def test_a_command_travels_to_the_container_as_it_is_in_the_manifest() -> None:
    reference = HandlerReference.from_manifest({"exec": {"command": ["echo", "$(x) {{ id }} é"], "failCodes": [3]}})
    assert reference.environment() == {
        "HAMMERWORK_EXEC_COMMAND": '["echo","$(x) {{ id }} é"]',
        "HAMMERWORK_EXEC_FAIL_CODES": "[3]",
    }
    assert read_settings({**CONTAINER, **reference.environment()}).handler == reference


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("stream", {"command": "[]", "processes": "0"}, r"^stream\.processes: '0', must be a whole number, 1 to 256"),
        (
            "exec",
            {"command": "[]", "failCodes": "[0]"},
            r"^exec\.failCodes: '\[0\]', must be a list of numbers",
        ),
        (
            "http",
            {"url": "http://h", "timeoutSeconds": "0"},
            r"^http\.timeoutSeconds: '0', must be a whole number",
        ),
    ],
)
def test_numbers_in_variables_are_held_to_their_limits(kind: str, fields: dict[str, str], message: str) -> None:
    with pytest.raises(HandlerError, match=message):
        HandlerReference(kind, fields).load()


@pytest.mark.parametrize("command", ["true", "{}", "[1]", ""])
def test_a_command_that_is_no_list_of_texts_is_refused(command: str) -> None:
    with pytest.raises(HandlerError, match=r"^exec\.command: .* must be a list of texts in JSON, such as"):
        HandlerReference("exec", {"command": command}).load()
