"""Several operator processes take turns: each is a candidate for the Lease; kopf runs while it is held."""

import asyncio
import os
import signal
import socket
import uuid

from pdscale.controller.election import Tenure
from pdscale.controller.handlers import Ticking
from pdscale.controller.leading import Leading, boot_clock
from pdscale.controller.under_kopf import kopf_operator
from pdscale.kube.client import Kube
from pdscale.kube.lease import LeaseStore
from pdscale.settings import Settings


def candidate(settings: Settings, kube: Kube) -> Leading | None:
    """None if this operator is alone. Each process is a candidate of its own, its predecessor's too."""
    if settings.lease is None:
        return None
    namespace, _, name = settings.lease.partition("/")
    identity = f"{os.environ.get('POD_NAME', socket.gethostname())}_{uuid.uuid4().hex[:8]}"
    return Leading(LeaseStore(kube, namespace, name), Tenure(boot_clock, identity))


async def in_turns(leading: Leading, loop: Ticking, settings: Settings, *, stop: asyncio.Event) -> None:
    """kopf runs while the Lease is ours. It takes the signals over, so each candidacy asks for them anew."""
    signals = asyncio.get_running_loop()

    async def term(over: asyncio.Event) -> None:
        fence = leading.tenure.left
        await kopf_operator(loop, settings, stop=over, started=asyncio.Event(), fence=fence)
        listen()

    def listen() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signals.add_signal_handler(number, stop.set)

    listen()
    try:
        await leading.lead(term, stop=stop)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signals.remove_signal_handler(number)
