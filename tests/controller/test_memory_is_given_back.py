"""What the process no longer uses is the kernel's again: pages of the heap, and what kopf would keep."""

import asyncio
import os
from pathlib import Path
from typing import Any

import kopf
import pytest
from benchmarks.scale.figures import resident_mib

from fakes.kube import PLURAL
from fakes.operator import Bench, eventually, ready, running
from pdscale.api.v1alpha1 import GROUP, VERSION
from pdscale.controller import handlers
from pdscale.controller.giving_back import giving_back, trimming

BLOCK = 64 * 1024  # less than what the C library asks the kernel for by itself


def resident() -> float:
    """MiB of this process."""
    return resident_mib(os.getpid())[0]


@pytest.mark.skipif(trimming() is None, reason="the C library gives back what is free by itself")
async def test_pages_between_what_is_kept_go_back_to_the_kernel() -> None:
    blocks = [bytearray(BLOCK) for _ in range(1024)]
    full = resident()
    blocks = blocks[::16]  # what is kept lies everywhere, to the end of the heap
    assert resident() > full - 32, "the C library keeps what is free in between"
    async with giving_back(every=0.01):
        async with asyncio.timeout(10):
            await eventually(lambda: resident() < full - 40)
    assert len(blocks) == 64


async def test_kopf_keeps_no_claims_of_writers(
    it: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``managedFields`` are half of what a watch brings, and kopf keeps an object as it came."""
    register, kept = handlers.register, list[kopf.Body]()

    def spied(registry: kopf.OperatorRegistry, loop: handlers.Ticking) -> None:
        register(registry, loop)

        @kopf.daemon(GROUP, VERSION, PLURAL, registry=registry)
        async def spy(body: kopf.Body, **_: Any) -> None:
            kept.append(body)

    monkeypatch.setattr(handlers, "register", spied)
    async with running(it, tmp_path):
        it.create()
        await eventually(lambda: ready(it) and bool(kept) and "status" in kept[0])
        assert it.fake.get(PLURAL, "chat")["metadata"]["managedFields"]
        assert "managedFields" not in kept[0]["metadata"]
