"""Everything that one emulated engine is told at its start."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pdscale.emulator.limits import Limits
from pdscale.emulator.modes import Mode, Patience
from pdscale.emulator.openai import Served
from pdscale.emulator.transfer import TransferConfig
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile

VERSION: Final = "0.33.0"
"""The vLLM whose protocol is spoken."""

SIDE_CHANNEL_PORT: Final = 5600
BOOTSTRAP_PORT: Final = 8998


class Protocol(StrEnum):
    VLLM = "vllm"
    SGLANG = "sglang"


@dataclass(frozen=True, slots=True)
class SglangSettings:
    """What only an engine that speaks SGLang's protocol is told. Without a mode it does everything itself."""

    mode: Mode | None = None
    patience: Patience = field(default_factory=Patience)
    decode_cache: bool = False
    bootstrap_port: int = BOOTSTRAP_PORT
    may_switch: bool = False
    header_overrides: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    profile: Profile
    limits: Limits
    served: Served
    protocol: Protocol = Protocol.VLLM
    transfer: TransferConfig | None = None
    sglang: SglangSettings = field(default_factory=SglangSettings)
    host: str = "0.0.0.0"
    port: int = 8000
    side_channel_host: str = "localhost"
    side_channel_port: int = SIDE_CHANNEL_PORT
    start_up: Seconds = 0.0
    shutdown_timeout: Seconds = 0.0
