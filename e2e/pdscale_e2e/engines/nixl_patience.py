"""A plugin that vLLM loads: NIXL's progress thread waits for events instead of polling without a pause.

It runs in the engine's own interpreter, so it imports nothing of this project. NIXL's Python binding sets
the thread's patience to 0 (1.5.1), with which it asks its sockets again and again and keeps a core busy in
an engine without a request. With a millisecond it sleeps in ``poll`` until something has come. On a GPU host
nobody minds; where three engines share two cores with routers, control plane and tests, nothing else runs.
"""

from typing import Any

PATIENCE = 1000  # microseconds


def install() -> None:
    """Every NIXL agent made from now on in this process is patient."""
    try:
        from nixl._api import nixlBind
    except ImportError:
        return  # this engine moves no KV

    plain: Any = nixlBind.nixlAgentConfig

    class PatientConfig(plain):  # type: ignore[misc]
        @property
        def pthrDelay(self) -> int:
            return int(plain.pthrDelay.__get__(self))

        @pthrDelay.setter
        def pthrDelay(self, microseconds: int) -> None:
            plain.pthrDelay.__set__(self, max(microseconds, PATIENCE))

    nixlBind.nixlAgentConfig = PatientConfig
