"""A front that is an endpoint picker of two decode replicas, and a gateway that asks it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from fakes.fleet import running_fleet
from fakes.gateway import LARGEST, Gateway, gateway_of
from pdscale.router.policies import PolicyName


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Gateway]:
    picker = {"endpoint_picker_port": 0, "max_body": LARGEST}
    async with (
        running_fleet(decode=2, prefill=0, policy=PolicyName.ALWAYS_LOCAL, of_fronts=picker) as fleet,
        gateway_of(fleet) as found,
    ):
        yield found
