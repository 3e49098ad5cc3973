"""Three real engines for the whole tier, a client, and the order in which they are used and used up."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from pdscale_e2e.engines.addresses import FRONT, NETWORK
from pdscale_e2e.engines.command import SHORT_LEASES, NoEngine, Vllm, find_vllm, transfer_config
from pdscale_e2e.engines.patience import patient
from pdscale_e2e.engines.processes import RealEngine, real_engines, revive, wait_free
from pdscale_e2e.engines.routers import Routers, routers
from pdscale_e2e.engines.talk import Client
from pdscale_e2e.engines.weights import with_weights

# What leaves all engines alive comes first; the operator starts engines of its own.
_ORDER: Final = ("sessions", "compared", "history", "leave", "faults", "operator")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    where = [number for number, item in enumerate(items) if item in here]
    for number, item in zip(where, sorted(here, key=_turn), strict=True):
        items[number] = item


def _turn(item: pytest.Item) -> int:
    return next((n for n, word in enumerate(_ORDER) if word in item.path.stem), len(_ORDER))


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Vllm:
    """A real vLLM and a model with weights that matter; without them the whole tier has nothing to test."""
    try:
        found = find_vllm()
    except NoEngine as error:
        if os.environ.get("E2E_REQUIRED"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    model, launcher = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("launcher")
    return patient(with_weights(found, model), launcher)


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("PDSCALE_E2E_LOGS")
    return Path(kept) if kept else tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def started() -> list[RealEngine]:
    """The tier's own engines, once there are some."""
    return []


@pytest.fixture(scope="session")
def all_engines(vllm: Vllm, logs: Path, started: list[RealEngine]) -> Iterator[list[RealEngine]]:
    """Two as the operator renders them, and a third that hands no history out: one engine alone, mostly."""
    both_ways = transfer_config(**SHORT_LEASES)
    one_way = transfer_config(**SHORT_LEASES, bidirectional_kv_xfer=False)
    wanted = [(f"{NETWORK}.{n}", t) for n, t in ((1, both_ways), (2, both_ways), (3, one_way))]
    with real_engines(vllm, wanted, logs=logs) as engines:
        started.extend(engines)
        yield engines


@pytest.fixture
def engines(all_engines: list[RealEngine]) -> list[RealEngine]:
    """All alive; blocks of earlier tests' sessions may still be pinned."""
    revive(all_engines)
    return all_engines


@pytest.fixture
def free_engines(engines: list[RealEngine]) -> list[RealEngine]:
    """Nothing of earlier tests in their memory, for which it may take a whole lease."""
    wait_free(engines, within=2 + SHORT_LEASES["kv_lease_duration"] + 10)
    return engines


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        yield Client(http)


@pytest.fixture
def routed(logs: Path) -> Callable[..., AbstractContextManager[Routers]]:
    """``with routed(prefill, decode, "--placement", ...) as routers``."""
    lease = f"{SHORT_LEASES['kv_lease_duration']}s"

    def around(
        prefill: Sequence[RealEngine],
        decode: Sequence[RealEngine],
        *sidecar: str,
        seen_at: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Routers]:
        # Where three engines share two cores, a first leg that comes at all is no failure, however late.
        further = ("--kv-lease", lease, "--prefill-timeout", "3m", *sidecar)
        return routers(prefill, decode, front=FRONT, logs=logs, sidecar=further, seen_at=seen_at)

    return around
