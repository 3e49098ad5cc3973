"""The plugin against a fake kubelet that speaks the real protocol over real sockets."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fakes.kubelet import Kubelet, Refused
from pdscale_e2e.gpu_plugin.gpus import Gpus, Health, UnknownGpu
from pdscale_e2e.gpu_plugin.registration import Registration


@pytest.fixture
async def kubelet(tmp_path: Path) -> AsyncIterator[Kubelet]:
    kubelet = await Kubelet(tmp_path).start()
    yield kubelet
    await kubelet.stop()


@pytest.fixture
def gpus() -> Gpus:
    return Gpus("worker", 4)


@pytest.fixture
async def registration(tmp_path: Path, gpus: Gpus) -> AsyncIterator[Registration]:
    registration = Registration(gpus, tmp_path, look_every=0.05)
    keeping = asyncio.ensure_future(registration.keep())
    yield registration
    keeping.cancel()
    await asyncio.wait([keeping])


@pytest.mark.usefixtures("registration")
async def test_the_plugin_registers_gpus_once_and_needs_no_optional_calls(kubelet: Kubelet) -> None:
    request = await kubelet.registered()
    assert (request.version, request.resource_name) == ("v1beta1", "nvidia.com/gpu")
    assert not request.options.pre_start_required
    assert not request.options.get_preferred_allocation_available
    async with kubelet.plugin(request.endpoint) as plugin:
        assert await plugin.options() == request.options
    with pytest.raises(TimeoutError):
        await kubelet.registered(within=0.2)


@pytest.mark.usefixtures("registration")
async def test_every_watcher_gets_the_whole_list_at_once_and_after_each_change(
    kubelet: Kubelet, gpus: Gpus
) -> None:
    healthy = {f"GPU-worker-{number}": "Healthy" for number in range(4)}
    endpoint = (await kubelet.registered()).endpoint
    async with (
        kubelet.plugin(endpoint) as plugin,
        plugin.listings() as first,
        plugin.listings() as second,
    ):
        assert [await anext(first), await anext(second)] == [healthy, healthy]
        gpus.mark(3, Health.UNHEALTHY)
        broken = {**healthy, "GPU-worker-3": "Unhealthy"}
        assert [await anext(first), await anext(second)] == [broken, broken]
        gpus.mark(3, Health.HEALTHY)
        assert [await anext(first), await anext(second)] == [healthy, healthy]


@pytest.mark.usefixtures("registration")
async def test_each_container_sees_exactly_the_gpus_it_was_given(kubelet: Kubelet) -> None:
    async with kubelet.plugin((await kubelet.registered()).endpoint) as plugin:
        assert await plugin.allocate(["GPU-worker-2", "GPU-worker-0"], ["GPU-worker-1"]) == [
            {"NVIDIA_VISIBLE_DEVICES": "GPU-worker-2,GPU-worker-0"},
            {"NVIDIA_VISIBLE_DEVICES": "GPU-worker-1"},
        ]


@pytest.mark.usefixtures("registration")
async def test_a_gpu_of_another_node_is_refused_by_name(kubelet: Kubelet) -> None:
    async with kubelet.plugin((await kubelet.registered()).endpoint) as plugin:
        with pytest.raises(Refused, match=r"INVALID_ARGUMENT: gpus must be among .*, got GPU-other-0"):
            await plugin.allocate(["GPU-worker-0", "GPU-other-0"])


@pytest.mark.usefixtures("registration")
async def test_a_restarted_kubelet_is_registered_with_again_and_learns_the_present_health(
    kubelet: Kubelet, gpus: Gpus
) -> None:
    await kubelet.registered()
    gpus.mark(1, Health.UNHEALTHY)
    for _ in range(2):
        await kubelet.restart()
        endpoint = (await kubelet.registered()).endpoint
        async with kubelet.plugin(endpoint) as plugin, plugin.listings() as listings:
            assert (await anext(listings))["GPU-worker-1"] == "Unhealthy"


async def test_it_is_registered_only_while_the_kubelet_has_its_socket(
    kubelet: Kubelet, registration: Registration, tmp_path: Path
) -> None:
    await kubelet.registered()
    await _until(lambda: registration.registered)
    await kubelet.stop()
    (tmp_path / "kubelet.sock").unlink(missing_ok=True)
    await _until(lambda: not registration.registered)
    await kubelet.start()
    await kubelet.registered()


async def test_a_socket_that_nobody_answers_is_tried_again_until_the_kubelet_is_up(
    tmp_path: Path, registration: Registration, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "kubelet.sock").touch()
    await _until(lambda: "not registered: " in caplog.text)
    assert not registration.registered
    kubelet = await Kubelet(tmp_path).start()
    await kubelet.registered()
    await kubelet.stop()


async def test_a_plugin_that_ends_takes_its_socket_away(kubelet: Kubelet, tmp_path: Path, gpus: Gpus) -> None:
    keeping = asyncio.ensure_future(Registration(gpus, tmp_path, look_every=0.05).keep())
    endpoint = (await kubelet.registered()).endpoint
    async with kubelet.plugin(endpoint) as plugin, plugin.listings() as listings:
        await anext(listings)
        keeping.cancel()
        await asyncio.wait([keeping])
    assert os.listdir(tmp_path) == ["kubelet.sock"]


def test_a_gpu_that_is_not_there_cannot_break(gpus: Gpus) -> None:
    with pytest.raises(UnknownGpu, match=r"gpu must be in 0\.\.3, got 4"):
        gpus.mark(4, Health.UNHEALTHY)


def test_a_node_without_gpus_needs_no_plugin() -> None:
    with pytest.raises(ValueError, match="gpus must be at least 1, got 0"):
        Gpus("worker", 0)


async def _until(check: Callable[[], bool], within: float = 5.0) -> None:
    async with asyncio.timeout(within):
        while not check():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)
