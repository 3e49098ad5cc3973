"""kopf over a loop of ours: settings, session and namespaces to watch, until somebody stops it."""

import asyncio
from typing import Any, Final

import kopf

from pdscale.controller import handlers
from pdscale.controller.login import credentials, session
from pdscale.kube.client import Fence
from pdscale.settings import Settings

IDENTITY: Final = "pdscale"


async def kopf_operator(
    loop: handlers.Ticking,
    settings: Settings,
    *,
    stop: asyncio.Event | None,
    started: asyncio.Event,
    fence: Fence | None = None,
) -> None:
    registry, kopf_settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    handlers.register(registry, loop)
    handlers.configure(kopf_settings)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return session(await credentials(settings), fence)

    await kopf.operator(
        registry=registry,
        settings=kopf_settings,
        # Else kopf asks for the name of the process's user, and a container's number need not have one.
        identity=IDENTITY,  # type: ignore[arg-type]  # a NewType of str that kopf does not export
        stop_flag=stop,
        ready_flag=started,
        **handlers.scope(settings.namespaces),
    )
