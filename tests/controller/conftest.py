"""The bench that tests of the loop share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.operator import Bench, bench
from fakes.prometheus import FakePrometheus


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as found:
        yield found


@pytest.fixture
async def server() -> AsyncIterator[FakePrometheus]:
    """A metrics server that knows of no request."""
    async with FakePrometheus({"request_rate": 0.0}) as found:
        yield found
