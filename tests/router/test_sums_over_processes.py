"""Several processes' series become one: counts add up, and never fall when a process goes."""

import math

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pdscale.model.slo import SLO
from pdscale.router.crew.tally import Tally
from pdscale.router.meters import Meters, Place

RECEIVED = "pdscale_router_requests_received_total"
TTFT = "pdscale_router_time_to_first_token_seconds"


def exposition(*, requests: int = 0, ttft: float = 0.0, sessions: float = 0, age: float = 0.0) -> str:
    meters = Meters()
    meters.sessions(lambda: sessions)
    meters.watch("discovery_age_seconds", "Age.", lambda: age)
    for _ in range(requests):
        meters.received(Place.FRONT)
    if ttft:
        meters.served(SLO(1.0, 1.0), ttft=ttft, tpot=None)
    return meters.exposition().decode()


def total(tally: Tally) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(tally)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {s.name + s.labels.get("le", ""): s.value for f in families for s in f.samples}


def test_counters_gauges_and_histograms_add_up() -> None:
    tally = Tally()
    tally.tell(0, exposition(requests=3, ttft=0.02))
    tally.tell(1, exposition(requests=4, ttft=0.2))
    found = total(tally)
    assert found[RECEIVED] == found["pdscale_router_inflight_requests"] == 7
    assert found[f"{TTFT}_bucket0.025"] == 1
    assert found[f"{TTFT}_bucket+Inf"] == found[f"{TTFT}_count"] == 2


def test_a_histogram_only_one_process_has_keeps_the_order_of_its_buckets() -> None:
    tally = Tally()
    tally.tell(0, exposition(requests=1))
    tally.tell(1, exposition(ttft=0.2))
    bounds = [float(n.removeprefix(f"{TTFT}_bucket")) for n in total(tally) if n.startswith(f"{TTFT}_bucket")]
    assert bounds == sorted(bounds)


def test_what_each_process_sees_of_the_same_thing_does_not_add_up() -> None:
    tally = Tally()
    tally.tell(0, exposition(sessions=40, age=1.5))
    tally.tell(1, exposition(sessions=41, age=0.5))
    found = total(tally)
    assert found["pdscale_router_sessions"] == 41
    assert found["pdscale_router_discovery_age_seconds"] == 1.5
    tally.tell(1, exposition(age=math.nan))
    assert math.isnan(total(tally)["pdscale_router_discovery_age_seconds"])


def test_a_process_that_went_leaves_its_counts_and_takes_its_gauges() -> None:
    tally = Tally()
    tally.tell(0, exposition(requests=3, sessions=9))
    tally.tell(1, exposition(requests=4))
    tally.departed(0)
    tally.tell(2, exposition(requests=1))
    found = total(tally)
    assert found[RECEIVED] == 8
    assert found["pdscale_router_inflight_requests"] == 5
    assert found["pdscale_router_sessions"] == 0


def test_a_process_that_never_spoke_leaves_nothing() -> None:
    tally = Tally()
    tally.departed(7)
    assert total(tally) == {}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), max_size=12))
def test_counters_never_fall(events: list[tuple[int, int, bool]]) -> None:
    tally, counts, before = Tally(), [0, 0, 0, 0], 0.0
    lives = [0, 1, 2, 3]
    for slot, more, dies in events:
        if dies:
            tally.departed(lives[slot])
            lives[slot] += 4
            counts[slot] = 0
        else:
            counts[slot] += more
            tally.tell(lives[slot], exposition(requests=counts[slot]))
        now = total(tally).get(RECEIVED, 0.0)
        assert now >= before
        before = now
