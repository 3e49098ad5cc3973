"""The router against the emulated engine, which keeps blocks, leases and caches as a real one does."""

import json

import pytest

from fakes.engine import KvWorld
from fakes.fleet import running_fleet
from pdscale.emulator.options import parse
from pdscale.emulator.server import EngineServer
from pdscale.placement.policy import PlacementReason
from pdscale.router.policies import PolicyName

TRANSFER = {
    "kv_connector": "NixlConnector",
    "kv_role": "kv_both",
    "kv_connector_extra_config": {"bidirectional_kv_xfer": True},
}

# Six increments of some hundred tokens on idle replicas.
REMOTE_OF_SIX = {
    PolicyName.COST_BASED: 0,
    PolicyName.AMPD: 6,
    PolicyName.ALWAYS_LOCAL: 0,
    PolicyName.ALWAYS_REMOTE: 6,
    PolicyName.THRESHOLD: 0,
    PolicyName.CONSERVE: 1,
    PolicyName.TABLE: 1,
}


def emulated(_: KvWorld, name: str) -> EngineServer:
    arguments = ["--host", "127.0.0.1", "--port", "0", "--side-channel-port", "0"]
    arguments += ["--side-channel-host", "127.0.0.1", "--speed", "50", "--model", "fake"]
    arguments += ["--enable-prompt-tokens-details"]
    settings, _ignored = parse([*arguments, "--kv-transfer-config", json.dumps(TRANSFER)], {})
    return EngineServer(settings)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("policy", list(PolicyName))
async def test_only_the_new_tokens_of_a_growing_session_are_computed(
    policy: PolicyName, stream: bool
) -> None:
    async with running_fleet(policy=policy, new_engine=emulated) as fleet:
        messages: list[dict[str, str]] = []
        for i in range(6):
            messages.append({"role": "user", "content": f"round {i} " + "some more words " * 60})
            reply = await fleet.chat(messages, stream=stream, headers={"X-Session-ID": "s"})
            assert reply.status == 200, reply.text
            assert "kv_transfer_params" not in reply.text
            messages.append({"role": "assistant", "content": reply.content})
        prompt = await fleet.metric(fleet.front, 'prompt_tokens_total{place="front"}')
        uncached = await fleet.metric(fleet.front, 'uncached_prompt_tokens_total{place="front"}')
        # Six prompts of 1, 2, ... 6 parts are 21 parts, of which 6 are new.
        assert uncached / prompt == pytest.approx(6 / 21, abs=0.08)
        remote = REMOTE_OF_SIX[policy]
        assert (await rounds(fleet, "remote"), await rounds(fleet, "local")) == (remote, 6 - remote)
        assert not any(engine.died.is_set() for engine in fleet.engines.values())


async def rounds(fleet, placement: str) -> float:  # type: ignore[no-untyped-def]
    return sum([await fleet.placements("d-0", placement, reason) for reason in PlacementReason])
