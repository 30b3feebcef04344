"""Manifests are read as kubectl reads them: the same table is put to the real one, which needs no server for that."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from hammerwork_cli.running.decoding import ManifestError
from hammerwork_cli.running.documents import MAX_DEPTH, read_documents
from hammerwork_cli.running.lists import objects
from tests.cluster.binaries import binaries_folder
from tests.harness.spellings import FILES, HEAD, REFUSED, VALUES


def file(spelling: str) -> bytes:
    return f"{HEAD}spec:\n  a: {spelling}\n".encode()


def ours(content: bytes) -> Any:
    try:
        found = [found for _, found in objects(read_documents(content))]
        return [document["spec"] if isinstance(document, dict) else REFUSED for document in found]
    except ManifestError:
        return REFUSED


def kubectls(content: bytes) -> Any:
    kubectl = binaries_folder() / "kubectl"
    if not kubectl.exists():
        pytest.skip("kubectl is not built; `python -m tests.cluster build` builds it")
    command = [str(kubectl), "label", "--local", "--filename=-", "--output=json", "a=b"]
    done = subprocess.run(
        command, input=content, env={"KUBECONFIG": "/dev/null"}, capture_output=True, timeout=60, check=False
    )
    decoder, text, found = json.JSONDecoder(), done.stdout.decode(), []
    while text := text.lstrip():
        document, end = decoder.raw_decode(text)
        found.append(document["spec"])
        text = text[end:]
    return REFUSED if done.returncode else found


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and the same in JSON: 1 is not 1.0, and not true."""
    return repr(one) == repr(other)


@pytest.mark.parametrize(("spelling", "expected"), VALUES)
def test_a_value_is_what_kubectl_makes_of_it(spelling: str, expected: Any) -> None:
    assert same(ours(file(spelling)), REFUSED if expected is REFUSED else [{"a": expected}])


@pytest.mark.parametrize(("content", "expected"), FILES)
def test_a_file_holds_what_kubectl_finds_in_it(content: bytes, expected: Any) -> None:
    found = ours(content)
    assert same(REFUSED if found == [REFUSED] else found, expected)


def test_the_real_kubectl_makes_the_same_of_all_values() -> None:
    taken = [(spelling, expected) for spelling, expected in VALUES if expected is not REFUSED]
    found = kubectls(b"---\n".join(file(spelling) for spelling, _ in taken))
    assert found is not REFUSED
    wrong = [
        (spelling, spec["a"])
        for (spelling, expected), spec in zip(taken, found, strict=True)
        if json.dumps(spec, sort_keys=True) != json.dumps({"a": expected}, sort_keys=True)
    ]
    assert wrong == []


def test_the_real_kubectl_refuses_the_same_values() -> None:
    refused = [spelling for spelling, expected in VALUES if expected is REFUSED]
    assert [spelling for spelling in refused if kubectls(file(spelling)) is not REFUSED] == []


def test_the_real_kubectl_finds_the_same_in_files() -> None:
    found = [(content, kubectls(content)) for content, _ in FILES]
    assert found == FILES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [\n", "line 3: not YAML: did not find expected node content"),
        ("a: 1\n---\nb: .nan\n", "line 3: not YAML: JSON has no number nan"),
        ("a: 1\n---\n\nb: {~: 1}\n", "line 4: not YAML: null cannot be a key"),
        ("a: 1\n--- b\n", "line 2: not YAML: 'b' in the line of a document separator"),
        ("a:\n  - [x?y]\n", r"line 2: not YAML: 'x\?y' has a '\?' within \[\] or {}: put it into quotes"),
        ('{"a": 1}\n{"a": 1}\n{"a": x}\n', "line 3: not JSON: "),
        ('{"a": 1}\n---\nb: {<<: 1}\n', "line 3: not YAML: << needs a mapping"),
        ("a: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} deep"),
        ('{"a": ' + "[" * 100_000, f"nested more than {MAX_DEPTH} deep"),
    ],
)
def test_what_is_refused_names_the_line(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=f"^{message}"):
        read_documents(text.encode())


@pytest.mark.timeout(60)  # a time in proportion to the square of the text is much longer
def test_many_objects_of_json_are_read_as_fast_as_one() -> None:
    assert len(read_documents(b"{}\n" * 300_000)) == 300_000
