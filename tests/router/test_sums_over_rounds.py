"""What a sidecar thinks of rounds before and after: sums that are there once there is something to add up."""

from pdscale.router.hop.inbound import Inbound
from pdscale.router.hop.outlet import Outlet
from pdscale.router.meters import Meters, Place
from pdscale.router.surface import Surface
from pdscale.router.traffic import Traffic


def samples(meters: Meters) -> dict[str, float]:
    lines = meters.exposition().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if "uncached_tokens" in line and line[0] != "#")
    return {name.removeprefix("pdscale_router_"): float(value) for name, _, value in found}


def test_rounds_that_arrived_are_summed_up_and_squared() -> None:
    meters = Meters()
    meters.arrived(3.0)
    meters.arrived(4.0)
    assert samples(meters) == {
        'arrived_uncached_tokens_total{place="sidecar"}': 7.0,
        'arrived_uncached_tokens_squared_total{place="sidecar"}': 25.0,
    }


def test_an_estimate_stands_beside_what_was_measured_even_if_that_was_nothing() -> None:
    meters = Meters()
    meters.estimated(guess=5.0, actual=0)
    assert samples(meters) == {
        'estimated_uncached_tokens_total{place="sidecar"}': 5.0,
        'measured_uncached_tokens_total{place="sidecar"}': 0.0,
    }


def test_a_port_without_any_request_says_zero_and_not_nothing() -> None:
    """The operator measures a new deployment by it: no series would be no data."""
    meters = Meters()
    Surface(Place.FRONT, Nobody(), None, meters, Traffic(lambda: 0.0), lambda: 0.0)
    lines = meters.exposition().decode().splitlines()
    assert 'pdscale_router_requests_received_total{place="front"} 0.0' in lines
    assert 'pdscale_router_inflight_requests{place="front"} 0.0' in lines


class Nobody:
    async def serve(self, inbound: Inbound, outlet: Outlet) -> int:
        raise NotImplementedError


def test_before_any_round_there_are_no_sums() -> None:
    assert samples(Meters()) == {}
