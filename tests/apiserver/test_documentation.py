"""What the documentation shows can be applied."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hammerwork_operator.crd import definitions
from tests.harness.documented import documented

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

SHOWN = [
    pytest.param(manifest, id=f"{page}-{manifest['metadata']['name']}")
    for definition in definitions().values()
    for page, manifest in documented(definition["spec"]["names"]["kind"])
]


@pytest.mark.parametrize("manifest", SHOWN)
def test_a_manifest_of_the_documentation_is_accepted_as_it_is(kubectl: Kubectl, manifest: Manifest) -> None:
    text = json.dumps(manifest)
    kubectl("apply", "--dry-run=server", "--validate=strict", "--server-side", "--filename=-", stdin=text)
