"""A router that fills prefill queues up to the limit, and a gate that lets rounds pass each other."""

import pytest

from pdscale.model.pools import Targets
from pdscale.scenarios.reading import read_settings
from pdscale.scenarios.runs import Case, run_case
from pdscale.scenarios.settings import PlacementName, ScalingName


@pytest.mark.parametrize(("order", "in_time"), [("FewestLate", True), ("ShortestRemaining", False)])
def test_a_round_that_was_sent_in_time_stays_in_time(order: str, in_time: bool) -> None:
    """One prefill replica beside seven that decode: under shortest first long prompts were 8 s late on a
    fleet that carries three times the load."""
    settings = read_settings(
        {
            "workload": "conversation",
            "duration": "4m",
            "rate": "20",
            "profile": "llama-3.1-70b-h100-tp4",
            "gpus_prefill": "4",
            "gpus_decode": "4",
            "ttft": "2s",
            "load_age": "0s",
            "order": order,
            "seed": "11",
        }
    )
    case = Case(PlacementName.COST_BASED, ScalingName.STATIC, 1.0, 11, Targets(1, 7))
    found = run_case(settings, case).verdict
    assert (found.attainment > 0.99) is in_time
    assert (found.ttft.p99 < 2.0) is in_time
