"""The bench that tests of the loop share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.operator import Bench, bench


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as found:
        yield found
