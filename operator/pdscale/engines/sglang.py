"""SGLang's P/D mode (0.5.23): both legs at once, which meet in a room of the prefill side's bootstrap server.

Both legs are the client's body plus three fields: the bootstrap server's address and the number of a room
that nobody else uses. The prefill instance makes one token whatever the body asks for, and answers it when
its KV has moved; that answer is drained and ignored. The decode instance streams, first token included.

The fields travel in the body. Headers (``x-override-bootstrap-*``) exist, but are off unless an environment
variable turns them on, and ``/v1/completions`` does not read them. Both ways leave the client's bytes as they
are, since fields are spliced in.

A decode instance answers 400 to a request without a room, so a round cannot be local. Nor can a prefill
instance read a session's history from the decode instance that holds it: what its own cache lacks is
computed again. The decode instance's cache (``--disaggregation-decode-enable-radix-cache``) only saves the
transfer.

Rooms: 0 is the engine's own mark for health checks, a batch of prompts takes consecutive rooms from the
given one, and the number is a signed 64-bit integer in the engine. A leg whose other leg is gone waits 300 s,
so whoever sends the legs has to cancel the one when the other fails.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Body = dict[str, Any]
Params = Mapping[str, Any]

BOOTSTRAP_PORT: Final = 8998
_LONGEST_BATCH: Final = 2**16
_LAST_ROOM: Final = 2**63 - 1 - _LONGEST_BATCH
_SPLIT_PATHS: Final = ("/v1/chat/completions", "/v1/completions")


@dataclass(frozen=True, slots=True)
class SGLang:
    """``bootstrap_port`` is that of every prefill instance (``--disaggregation-bootstrap-port``)."""

    bootstrap_port: int = BOOTSTRAP_PORT

    @property
    def history_moves(self) -> bool:
        return False

    @property
    def both_at_once(self) -> bool:
        return True

    @property
    def local_possible(self) -> bool:
        return False

    def splittable(self, path: str, body: Body) -> bool:
        """Several answers to one prompt would share a room, and a decode instance has no prompt logprobs."""
        if path not in _SPLIT_PATHS or (body.get("echo") and body.get("logprobs")):
            return False
        return not any(_count(body.get(k)) > 1 for k in ("n", "best_of"))

    def meeting(self, prefill_host: str, rng: random.Random) -> Params | None:
        """A room of its own for one attempt at one round."""
        return {
            "bootstrap_host": prefill_host,
            "bootstrap_port": self.bootstrap_port,
            "bootstrap_room": rng.randint(1, _LAST_ROOM),
        }

    def prefill_leg(self, body: Body, params: Params | None) -> Body:
        return {**body, **(params or {})}

    def decode_fields(self, params: Params) -> Params:
        return params

    def decode_leg(self, body: Body, params: Params) -> Body:
        return {**body, **params}

    def local_fields(self) -> Params:
        return {}

    def local_round(self, body: Body) -> Body:
        return body


def _count(value: object) -> int:
    return value if isinstance(value, int) else 1
