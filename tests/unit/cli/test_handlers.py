"""Handlers of pools: found next to the manifest, also when two folders use the same file name."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hammerwork import HandlerError, Job
from hammerwork_cli.running.handlers import load_handler, other_values
from hammerwork_cli.running.manifests import PoolManifest
from hammerwork_operator.api.workerpool import WorkerPoolSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _imports_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def pool(folder: Path, function: str, env: list[dict[str, str]] | None = None) -> PoolManifest:
    template = {"spec": {"containers": [{"name": "worker", "env": env or []}]}}
    spec = {"queue": "q", "handler": {"python": {"function": function}}, "template": template}
    return PoolManifest(
        path=folder / "pool.yaml", namespace="default", name="p", spec=msgspec.convert(spec, WorkerPoolSpec)
    )


def handlers_file(folder: Path, answer: str, name: str = "pool_handlers.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"def run(job):\n    return {answer!r}\n")
    return folder


def call(handler: Any) -> Any:
    return handler(Job("q", {}))


def test_a_module_is_found_next_to_the_manifest(tmp_path: Path) -> None:
    assert call(load_handler(pool(handlers_file(tmp_path, "here"), "pool_handlers:run"))) == "here"


def test_two_folders_may_each_have_a_module_of_the_same_name(tmp_path: Path) -> None:
    first = load_handler(pool(handlers_file(tmp_path / "a", "first"), "pool_handlers:run"))
    second = load_handler(pool(handlers_file(tmp_path / "b", "second"), "pool_handlers:run"))
    assert (call(first), call(second)) == ("first", "second")


def test_a_module_next_to_the_manifest_goes_before_pythons_own(tmp_path: Path) -> None:
    assert call(load_handler(pool(handlers_file(tmp_path, "ours", "json.py"), "json:run"))) == "ours"


def test_a_file_is_looked_for_from_the_manifests_folder(tmp_path: Path) -> None:
    handlers_file(tmp_path / "code", "file")
    assert call(load_handler(pool(tmp_path, "code/pool_handlers.py:run"))) == "file"


def test_the_option_goes_before_the_manifest(tmp_path: Path) -> None:
    handlers_file(tmp_path, "other", "other_handlers.py")
    assert call(load_handler(pool(tmp_path, "missing:run"), "other_handlers:run")) == "other"


def test_the_templates_environment_is_set_unless_the_user_has_set_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLI_TEST_MINE", "mine")
    monkeypatch.setenv("CLI_TEST_UNSET", "")
    monkeypatch.delenv("CLI_TEST_UNSET")
    env = [{"name": "CLI_TEST_MINE", "value": "template"}, {"name": "CLI_TEST_UNSET", "value": "template"}]
    loaded = pool(handlers_file(tmp_path, "x"), "pool_handlers:run", env)
    load_handler(loaded)
    assert (os.environ["CLI_TEST_MINE"], os.environ["CLI_TEST_UNSET"]) == ("mine", "template")
    (note,) = other_values([loaded])
    assert note.startswith(f"{tmp_path}/pool.yaml: WorkerPool default/p: CLI_TEST_MINE has another value here")


def test_what_cannot_be_loaded_is_told_with_pool_and_field(tmp_path: Path) -> None:
    with pytest.raises(HandlerError) as caught:
        load_handler(pool(handlers_file(tmp_path, "x"), "pool_handlers:walk"))
    assert str(caught.value) == (
        f"{tmp_path}/pool.yaml: WorkerPool default/p: spec.handler.python.function: "
        "handler 'pool_handlers:walk': 'pool_handlers' has no 'walk'"
    )
    with pytest.raises(HandlerError, match=r"^--handler: handler 'nowhere_to_be_found:run': no module"):
        load_handler(pool(tmp_path, "pool_handlers:run"), "nowhere_to_be_found:run")
