"""The CRD on a real API server: what it takes, what it refuses, and in which words."""

import json

import pytest
from kubernetes.client.exceptions import ApiException

from fakes.bad_specs import BAD, GOOD, Bad
from pdscale_e2e.install import ROOT, manifests
from pdscale_e2e.objects import Objects

pytestmark = [pytest.mark.cluster, pytest.mark.together]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_objects(objects: Objects, example: str) -> None:
    for manifest in manifests((ROOT / "examples" / example).read_text()):
        if manifest["kind"] == "ServingDeployment":
            objects.create(manifest, dry_run=True)


@pytest.mark.parametrize("bad", [pytest.param(b, id=b.id) for b in BAD])
def test_a_bad_spec_is_refused_in_words_that_name_field_value_and_bound(objects: Objects, bad: Bad) -> None:
    with pytest.raises(ApiException) as refused:
        objects.create(bad.body, dry_run=True)
    assert refused.value.status == 422
    message = json.loads(refused.value.body)["message"]
    for part in bad.server:
        assert part in message


def test_what_is_left_out_is_filled_in_on_the_server(objects: Objects) -> None:
    made = objects.create(GOOD, dry_run=True)["spec"]
    assert made["slo"]["attainment"] == 0.95
    assert made["scaling"]["mode"] == "Auto"
    assert made["forecast"]["quantile"] == 0.9
    assert made["router"]["placement"] == "CostBased"
