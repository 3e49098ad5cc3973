"""SGLang's switch of a running engine between prefill and decode: ``POST /pd_role_switch``, since 0.5.23.

Only an idle engine that was started with ``--enable-pd-role-switch`` agrees; its weights stay where they are.
One that fails half-way says so and reports itself unhealthy: its container then starts anew, in the role that
its pod's label names.
"""

import json
from typing import Final

import aiohttp

from pdscale.engines.errors import EngineSilent, RoleRefused
from pdscale.model.pools import Role
from pdscale.model.units import Seconds

PATH: Final = "/pd_role_switch"
PATIENCE: Final[Seconds] = 10.0  # a tick waits for it; the next one asks again


async def switch_role(engine: str, role: Role) -> None:
    """Have the engine at this address take the role; the same one twice does no harm.

    Raises ``RoleRefused`` with its words, or ``EngineSilent`` where nobody knows what became of it.
    """
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as client,
            client.post(f"{engine}{PATH}", json={"new_role": str(role)}) as answer,
        ):
            status, text = answer.status, await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise EngineSilent(f"{engine}{PATH}: {error!r}") from error
    said = _read(text)
    if status != 200 or said.get("success") is not True:
        raise RoleRefused(
            f"{engine}{PATH}: {status} {said.get('message') or text[:200].decode(errors='replace')}"
        )


def _read(text: bytes) -> dict[str, object]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}  # an engine that does not know the path
    return said if isinstance(said, dict) else {}
