"""What placeholders in the arguments of a command become."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from hammerwork import HandlerError, Job, JobFailedError
from hammerwork.handlers.arguments import compile_arguments

BATCH = UUID("01890000-0000-7000-8000-000000000000")


def job(payload: Any, index: int = 7) -> Job:
    return Job("q", payload, batch_id=BATCH, index=index)


@pytest.mark.parametrize(
    ("argument", "payload", "made"),
    [
        ("plain { }}", 1, "plain { }}"),
        ("{{ {{ }}{{ index }}", 1, "{{7"),
        ("{{ {{ }}", 1, "{{"),
        ("{{ index }}", 1, "7"),
        ("{{id}}", 1, f"{BATCH}/7"),
        ("{{ payload }}", "text; $(rm -rf /) 'a' \"b\"\n", "text; $(rm -rf /) 'a' \"b\"\n"),
        ("{{ payload }}", {"a": [1, None]}, '{"a":[1,null]}'),
        ("-{{ payload.a.1 }}-{{ payload.b }}-{{ index }}", {"a": [0, 2.5], "b": "{{ index }}"}, "-2.5-{{ index }}-7"),
        ("{{ payload.a }}", {"a": True}, "true"),
        ("{{ payload.a }}", {"a": None}, "null"),
        ("{{ payload.ä b }}", {"ä b": "ü"}, "ü"),
    ],
)
def test_a_placeholder_becomes_text_and_is_not_looked_at_again(argument: str, payload: Any, made: str) -> None:
    assert compile_arguments(["run", argument])(job(payload)) == ["run", made]


@pytest.mark.parametrize(
    "name", ["", "indx", "payload.", "payload..a", ".payload", "env.HOME", "payloads", "index.a", "item.x"]
)
def test_unknown_placeholders_are_refused_at_once(name: str) -> None:
    with pytest.raises(HandlerError) as caught:
        compile_arguments(["run", "a", f"x{{{{ {name} }}}}"])
    assert str(caught.value) == (
        f"argument 2 'x{{{{ {name} }}}}': unknown placeholder '{{{{ {name} }}}}'; there are '{{{{ payload.PATH }}}}', "
        "'{{ payload }}', '{{ index }}' and '{{ id }}'"
    )


@pytest.mark.parametrize("payload", [{}, {"a": {}}, {"a": "text"}, {"a": None}, 5, None, [1]])
def test_what_the_payload_lacks_fails_the_job_for_good(payload: Any) -> None:
    with pytest.raises(JobFailedError) as caught:
        compile_arguments(["run", "--size={{ payload.a.size }}"])(job(payload))
    assert str(caught.value) == "argument 1 '--size={{ payload.a.size }}': the payload has no 'a.size'"


def test_a_placeholder_that_is_not_closed_is_refused_at_once() -> None:
    with pytest.raises(HandlerError) as caught:
        compile_arguments(["run", "{{ index }"])
    assert str(caught.value) == (
        "argument 1 '{{ index }': the placeholder '{{ index }' is not closed; a literal '{{' is written '{{ {{ }}'"
    )
