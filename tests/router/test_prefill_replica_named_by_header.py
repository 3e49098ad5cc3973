"""An endpoint picker names the prefill replica; nobody can name a host that discovery does not know."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.fleet import Fleet, eventually, running_fleet
from pdscale.model.pools import Role
from pdscale.router.fleet.peers import parse_static
from pdscale.router.fleet.roster import Roster
from pdscale.router.flows.prefiller_header import PrefillerHeader
from pdscale.router.meters import Meters
from pdscale.router.policies import PolicyName

HEADER = "x-prefiller-host-port"
IGNORED = 'ignored_prefiller_headers_total{place="sidecar"}'


async def ask(fleet: Fleet, named: str, **more: Any) -> None:
    """As an endpoint picker's gateway does: the decode pod's sidecar gets the request."""
    url = f"http://127.0.0.1:{fleet.sidecars['d-0'].port}"
    headers = {"X-Session-ID": "s", HEADER: named}
    reply = await fleet.chat(url=url, headers=headers, **more)
    assert reply.status == 200
    assert fleet.world.violations == []


def address(fleet: Fleet, name: str) -> str:
    return f"127.0.0.1:{fleet.sidecars[name].port}"


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_the_named_replica_computes_the_prompt(stream: bool) -> None:
    async with running_fleet(
        prefill=3, policy=PolicyName.ALWAYS_LOCAL, honour_prefiller_header=True
    ) as fleet:
        for name in ("p-1", "p-2", "p-1"):
            await ask(fleet, address(fleet, name), stream=stream)
        assert [len(fleet.engines[p].seen) for p in ("p-0", "p-1", "p-2")] == [0, 2, 1]
        assert await fleet.placements("d-0", "remote", "NamedByHeader") == 3
        assert await fleet.metric(fleet.sidecars["d-0"], IGNORED) == 0


async def test_without_the_header_the_policy_decides() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, honour_prefiller_header=True) as fleet:
        await fleet.chat(url=f"http://{address(fleet, 'd-0')}")
        assert fleet.engines["p-0"].kinds == []
        assert await fleet.placements("d-0", "local", "PolicyAlwaysLocal") == 1


async def test_the_first_known_one_of_a_list_counts() -> None:
    async with running_fleet(
        prefill=2, policy=PolicyName.ALWAYS_LOCAL, honour_prefiller_header=True
    ) as fleet:
        await ask(fleet, f"10.9.9.9:8080, {address(fleet, 'p-1')},{address(fleet, 'p-0')}")
        assert [fleet.engines[p].kinds for p in ("p-0", "p-1")] == [[], ["prefill"]]


@pytest.mark.parametrize(
    "named", ["10.9.9.9:8080", "127.0.0.1:1", "{d-0}", "evil.example:80", "", "p-0", ",:"]
)
async def test_anything_but_a_prefill_replica_is_ignored_and_counted(named: str) -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, honour_prefiller_header=True) as fleet:
        named = named.replace("{d-0}", address(fleet, "d-0"))
        await ask(fleet, named)
        assert fleet.engines["p-0"].kinds == []
        assert await fleet.placements("d-0", "local", "PolicyAlwaysLocal") == 1
        assert await fleet.metric(fleet.sidecars["d-0"], IGNORED) == bool(named)


async def test_a_named_replica_that_drains_is_ignored() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, honour_prefiller_header=True) as fleet:
        await fleet.api.apply(fleet.pod("p-0", draining=True))
        sidecar = fleet.sidecars["d-0"]

        def drains() -> bool:
            found = sidecar.roster.view(asyncio.get_running_loop().time()).named("p-0")
            return found is not None and found.draining

        await eventually(drains)
        await ask(fleet, address(fleet, "p-0"))
        assert fleet.engines["p-0"].kinds == []
        assert await fleet.metric(sidecar, IGNORED) == 1


async def test_a_named_replica_that_fails_costs_no_request() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, honour_prefiller_header=True) as fleet:
        named = address(fleet, "p-0")
        await fleet.sidecars["p-0"].stop()
        await ask(fleet, named)
        assert await fleet.placements("d-0", "local", "PrefillFailed") == 1


async def test_the_header_counts_for_nothing_unless_it_was_switched_on() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL) as fleet:
        await ask(fleet, address(fleet, "p-0"))
        assert fleet.engines["p-0"].kinds == []
        assert await fleet.metric(fleet.sidecars["d-0"], IGNORED) == 0


async def test_a_client_of_the_front_names_nobody() -> None:
    async with running_fleet(policy=PolicyName.ALWAYS_LOCAL, honour_prefiller_header=True) as fleet:
        await fleet.chat(headers={HEADER: address(fleet, "p-0")})
        assert fleet.engines["p-0"].kinds == []
        assert await fleet.metric(fleet.sidecars["d-0"], IGNORED) == 0


@given(st.binary(max_size=40))
def test_no_bytes_name_somebody_unknown(told: bytes) -> None:
    roster = Roster()
    roster.replace_all(parse_static("prefill=p=10.0.0.1:8080,decode=d=10.0.0.2:8080"), now=0.0)
    header = PrefillerHeader(roster, Meters(), lambda: 0.0, honoured=True)
    assert header(told) in (None, "p")
    assert header(b"10.0.0.2:8080, " + told) in (None, "p")
    assert header(told + b",10.0.0.1:8080") == "p"
    assert roster.role_of("p") is Role.PREFILL
