"""The operator writes the variables that the worker container reads: both must spell them alike."""

from __future__ import annotations

from hammerwork.handlers import python
from hammerwork.working import variables
from hammerwork_operator.api import names


def test_operator_and_worker_spell_every_environment_name_alike() -> None:
    read = {name: value for name, value in vars(variables).items() if name.isupper()}
    read["HANDLER"] = python.FUNCTION.variable
    assert len(read) == 13
    assert {name: getattr(names, f"ENV_{name}") for name in read} == read
