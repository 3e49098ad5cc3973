"""The command line: vLLM's own spelling where vLLM has the option, so that one list serves both.

``vllm serve MODEL --max-num-seqs 64 ...`` works word for word. Options of vLLM that mean nothing to
an emulated engine are named on standard error and ignored; a bad value of a known one is an error.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from pdscale.emulator.limits import Limits
from pdscale.emulator.openai import Served
from pdscale.emulator.transfer import OnFailure, TransferConfig
from pdscale.model.units import Seconds
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import read_profile
from pdscale.perf.profile import Profile

VERSION: Final = "0.33.0"
"""The vLLM whose protocol is spoken."""

DEFAULT_PROFILE: Final = "llama-3.1-8b-fp8-h200-dynamo"
_SIDE_CHANNEL_PORT: Final = 5600
_ROLES: Final = ("kv_both", "kv_producer", "kv_consumer")
_MULTIPLES: Final = {"": 1, "k": 10**3, "m": 10**6, "K": 2**10, "M": 2**20}


class BadOption(ValueError):
    """An option that cannot be used: the caller's fault. The message names option and bound."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one engine is told at its start."""

    profile: Profile
    limits: Limits
    served: Served
    transfer: TransferConfig | None = None
    host: str = "0.0.0.0"
    port: int = 8000
    side_channel_host: str = "localhost"
    side_channel_port: int = _SIDE_CHANNEL_PORT
    start_up: Seconds = 0.0
    shutdown_timeout: Seconds = 0.0


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Settings, tuple[str, ...]]:
    """Settings, and the options that were ignored."""
    given, ignored = _parser(environment).parse_known_args(_normal(arguments))
    profile = _profile(given.profile, given.profile_file)
    limits = _limits(profile, given)
    names = given.served_model_name or [given.model]
    served = Served(
        models=tuple(names),
        max_model_len=limits.max_model_len,
        prompt_tokens_details=given.enable_prompt_tokens_details,
    )
    settings = Settings(
        profile=profile,
        limits=limits,
        served=served,
        transfer=_transfer(given.kv_transfer_config, given.kv_lease_seconds),
        host=given.host,
        port=given.port,
        side_channel_host=given.side_channel_host,
        side_channel_port=given.side_channel_port,
        start_up=given.start_up_seconds,
        shutdown_timeout=given.shutdown_timeout,
    )
    return settings, tuple(word for word in ignored if word.startswith("-"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadOption(message)


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    p = _Parser(prog="python -m pdscale.emulator", description=__doc__, allow_abbrev=False)
    p.add_argument("--host", default="0.0.0.0")
    p.add_argument("--port", type=_whole(0, 65535), default=8000)
    p.add_argument("--model", default="emulated")
    p.add_argument("--served-model-name", nargs="+")
    p.add_argument("--max-model-len", type=_whole(2))
    p.add_argument("--max-num-seqs", type=_whole(1))
    p.add_argument("--max-num-batched-tokens", type=_whole(1))
    p.add_argument("--block-size", type=_whole(1), default=16)
    p.add_argument("--scheduling-policy", choices=("fcfs", "priority"), default="fcfs")
    p.add_argument("--enable-prompt-tokens-details", action=argparse.BooleanOptionalAction, default=False)
    p.add_argument("--kv-transfer-config", default=None)
    p.add_argument("--shutdown-timeout", type=_number(0), default=0.0)
    own = p.add_argument_group("of the emulator")
    own.add_argument("--profile", default=None, help=f"one of {', '.join(BUILTIN)}")
    own.add_argument("--profile-file", default=None, help="a profile as JSON")
    own.add_argument("--speed", type=_number(0, open_end=True), default=1.0)
    own.add_argument("--start-up-seconds", type=_number(0), default=0.0)
    own.add_argument("--kv-tokens", type=_whole(1), default=None)
    own.add_argument("--kv-lease-seconds", type=_number(0, open_end=True), default=None)
    own.add_argument("--mean-answer-tokens", type=_whole(0), default=None)
    host = environment.get("VLLM_NIXL_SIDE_CHANNEL_HOST", "localhost")
    port = environment.get("VLLM_NIXL_SIDE_CHANNEL_PORT", str(_SIDE_CHANNEL_PORT))
    own.add_argument("--side-channel-host", default=host)
    own.add_argument("--side-channel-port", type=_whole(0, 65535), default=port)
    return p


def _normal(arguments: Sequence[str]) -> list[str]:
    """``serve MODEL`` in front becomes ``--model MODEL``; underscores in names become dashes."""
    words = list(arguments)
    if words and words[0] == "serve":
        del words[0]
    if words and not words[0].startswith("-"):
        words[:1] = ["--model", words[0]]
    return [_dashed(word) if word.startswith("--") else word for word in words]


def _dashed(word: str) -> str:
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Whole numbers, with vLLM's suffixes: 32k is 32000, 32K is 32768."""
    bound = f"at least {least}" if most is None else f"in {least}..{most}"

    def convert(text: str) -> int:
        match = re.fullmatch(r"(-?\d+)([kmKM]?)", text)
        number = int(match[1]) * _MULTIPLES[match[2]] if match else None
        if number is None or number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be a whole number {bound}, got {text}")
        return number

    return convert


def _number(least: float, *, open_end: bool = False) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not (number > least if open_end else number >= least):
            bound = f"above {least}" if open_end else f"at least {least}"
            raise argparse.ArgumentTypeError(f"must be a number {bound}, got {text}")
        return number

    return convert


def _profile(name: str | None, path: str | None) -> Profile:
    if path is not None:
        if name is not None:
            raise BadOption("--profile and --profile-file must not be given together")
        try:
            with open(path, encoding="utf-8") as file:
                return read_profile(json.load(file))
        except (OSError, ValueError) as error:
            raise BadOption(f"--profile-file {path}: {error}") from error
    profile = BUILTIN.get(name or DEFAULT_PROFILE)
    if profile is None:
        raise BadOption(f"--profile must be one of {', '.join(BUILTIN)}, got {name}")
    return profile


def _limits(profile: Profile, given: argparse.Namespace) -> Limits:
    blocks = int(given.kv_tokens or profile.kv_capacity) // given.block_size
    if blocks < 1:
        raise BadOption(f"--kv-tokens must hold a block of {given.block_size}, got {given.kv_tokens}")
    if given.kv_tokens is not None:
        profile = replace(profile, kv_capacity=given.kv_tokens)
    limits = Limits.of(profile, block_size=given.block_size)
    overrides = {
        "max_batched_tokens": given.max_num_batched_tokens,
        "max_sequences": given.max_num_seqs,
        "max_model_len": given.max_model_len,
        "answer_length": given.mean_answer_tokens,
    }
    try:
        return replace(
            limits,
            by_priority=given.scheduling_policy == "priority",
            speed=given.speed,
            **{name: figure for name, figure in overrides.items() if figure is not None},
        )
    except ValueError as error:
        raise BadOption(f"--max-model-len: {error}") from error


def _transfer(text: str | None, lease: Seconds | None) -> TransferConfig | None:
    """The connector's JSON, read as vLLM reads it; None if there is no connector."""
    if text is None:
        return None
    option = "--kv-transfer-config"
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise BadOption(f"{option} must be JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BadOption(f"{option} must be a JSON object, got {text}")
    _one_of(raw, "kv_connector", ("NixlConnector",))
    _one_of(raw, "kv_role", _ROLES)
    policy = raw.get("kv_load_failure_policy", OnFailure.FAIL)
    _one_of({"kv_load_failure_policy": policy}, "kv_load_failure_policy", tuple(OnFailure))
    extra = raw.get("kv_connector_extra_config", {})
    if not isinstance(extra, dict):
        raise BadOption(f"{option}: kv_connector_extra_config must be an object, got {extra!r}")
    try:
        return TransferConfig(
            bidirectional=_typed(extra, "bidirectional_kv_xfer", bool, False),
            recompute_threshold=_typed(extra, "kv_recompute_threshold", int, 64),
            decoder_blocks_ttl=_typed(extra, "decoder_kv_blocks_ttl", float, 480.0),
            lease=lease or _typed(extra, "kv_lease_duration", float, 30.0),
            on_failure=OnFailure(policy),
        )
    except ValueError as error:
        raise BadOption(f"{option}: {error}") from error


def _one_of(raw: Mapping[str, Any], name: str, values: tuple[str, ...]) -> None:
    if raw.get(name) not in values:
        allowed = ", ".join(values)
        raise BadOption(f"--kv-transfer-config: {name} must be one of {allowed}, got {raw.get(name)}")


def _typed(raw: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    figure = raw.get(name, default)
    if kind is float and isinstance(figure, int) and not isinstance(figure, bool):
        return float(figure)
    if not isinstance(figure, kind) or (kind is int and isinstance(figure, bool)):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {figure!r}")
    return figure
