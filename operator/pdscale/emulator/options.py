"""The command line: the real engine's own spelling where it has the option, so that one list serves both.

``vllm serve MODEL --max-num-seqs 64 ...`` works word for word, and with ``--protocol sglang`` so do the
arguments of ``sglang.launch_server``. Options of theirs that mean nothing to an emulated engine are named on
standard error and ignored; a bad value of a known one is an error.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NoReturn

from pdscale.emulator.kv_transfer_option import transfer_config
from pdscale.emulator.limits import Limits
from pdscale.emulator.modes import Mode, Patience
from pdscale.emulator.openai import Served
from pdscale.emulator.option_values import BadOption, number, whole
from pdscale.emulator.settings import (
    BOOTSTRAP_PORT,
    SIDE_CHANNEL_PORT,
    Protocol,
    Settings,
    SglangSettings,
)
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import read_profile
from pdscale.perf.profile import Profile

DEFAULT_PROFILE: Final = "llama-3.1-8b-fp8-h200-dynamo"
_ON: Final = ("1", "true")


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Settings, tuple[str, ...]]:
    """Settings, and the options that were ignored."""
    words = _normal(arguments)
    first = _Parser(add_help=False, allow_abbrev=False)
    _add_protocol(first)
    protocol = Protocol(first.parse_known_args(words)[0].protocol)
    parser = _sglang_parser() if protocol is Protocol.SGLANG else _vllm_parser(environment)
    given, ignored = parser.parse_known_args(words)
    profile = _profile(given.profile, given.profile_file)
    limits = _limits(profile, given)
    names = given.served_model_name or [given.model]
    settings = Settings(
        profile=profile,
        limits=limits,
        served=Served(tuple(names), limits.max_model_len, prompt_tokens_details=given.prompt_tokens_details),
        protocol=protocol,
        host=given.host,
        port=given.port,
        start_up=given.start_up_seconds,
        shutdown_timeout=given.shutdown_timeout,
    )
    if protocol is Protocol.SGLANG:
        settings = replace(settings, sglang=_sglang_settings(given, environment))
    else:
        settings = replace(
            settings,
            transfer=transfer_config(given.kv_transfer_config, given.kv_lease_seconds),
            side_channel_host=given.side_channel_host,
            side_channel_port=given.side_channel_port,
        )
    return settings, tuple(word for word in ignored if word.startswith("-"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadOption(message)


def _common() -> _Parser:
    """What both servers call the same, and what only an emulated one has."""
    p = _Parser(prog="python -m pdscale.emulator", description=__doc__, allow_abbrev=False)
    p.add_argument("--host", default="0.0.0.0")
    p.add_argument("--served-model-name", nargs="+")
    own = p.add_argument_group("of the emulator")
    _add_protocol(own)
    own.add_argument("--profile", default=None, help=f"one of {', '.join(BUILTIN)}")
    own.add_argument("--profile-file", default=None, help="a profile as JSON")
    own.add_argument("--speed", type=number(0, open_end=True), default=1.0)
    own.add_argument("--start-up-seconds", type=number(0), default=0.0)
    own.add_argument("--shutdown-timeout", type=number(0), default=0.0)  # vLLM has it, too
    own.add_argument("--mean-answer-tokens", type=whole(0), default=None)
    return p


def _add_protocol(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--protocol", choices=[p.value for p in Protocol], default=Protocol.VLLM.value)


def _vllm_parser(environment: Mapping[str, str]) -> _Parser:
    p = _common()
    p.add_argument("--port", type=whole(0, 65535), default=8000)
    p.add_argument("--model", default="emulated")
    p.add_argument("--max-model-len", type=whole(2))
    p.add_argument("--max-num-seqs", dest="max_sequences", type=whole(1))
    p.add_argument("--max-num-batched-tokens", dest="max_batched_tokens", type=whole(1))
    p.add_argument("--block-size", type=whole(1), default=16)
    p.add_argument("--scheduling-policy", choices=("fcfs", "priority"), default="fcfs")
    p.add_argument(
        "--enable-prompt-tokens-details",
        dest="prompt_tokens_details",
        action=argparse.BooleanOptionalAction,
        default=False,
    )
    p.add_argument("--kv-transfer-config", default=None)
    p.add_argument("--kv-tokens", type=whole(1), default=None, help="of the emulator")
    p.add_argument("--kv-lease-seconds", type=number(0, open_end=True), default=None, help="of the emulator")
    host = environment.get("VLLM_NIXL_SIDE_CHANNEL_HOST", "localhost")
    port = environment.get("VLLM_NIXL_SIDE_CHANNEL_PORT", str(SIDE_CHANNEL_PORT))
    p.add_argument("--side-channel-host", default=host, help="of the emulator")
    p.add_argument("--side-channel-port", type=whole(0, 65535), default=port, help="of the emulator")
    return p


def _sglang_parser() -> _Parser:
    p = _common()
    p.add_argument("--port", type=whole(0, 65535), default=30000)
    p.add_argument("--model-path", "--model", dest="model", default="emulated")
    p.add_argument("--context-length", dest="max_model_len", type=whole(2))
    p.add_argument("--max-running-requests", dest="max_sequences", type=whole(1))
    p.add_argument("--chunked-prefill-size", dest="max_batched_tokens", type=whole(1))
    p.add_argument("--max-total-tokens", "--kv-tokens", dest="kv_tokens", type=whole(1), default=None)
    p.add_argument("--page-size", dest="block_size", type=whole(1), default=16)
    p.add_argument("--enable-cache-report", dest="prompt_tokens_details", action="store_true")
    p.add_argument("--enable-metrics", action="store_true")  # the emulated one always has them
    p.add_argument("--disaggregation-mode", choices=("null", *Mode), default="null")
    p.add_argument("--disaggregation-bootstrap-port", type=whole(0, 65535), default=BOOTSTRAP_PORT)
    p.add_argument("--disaggregation-decode-enable-radix-cache", dest="decode_cache", action="store_true")
    p.add_argument("--enable-pd-role-switch", dest="may_switch", action="store_true")
    p.set_defaults(scheduling_policy="fcfs")
    return p


def _sglang_settings(given: argparse.Namespace, environment: Mapping[str, str]) -> SglangSettings:
    """Patience and header overrides are variables of the real one's environment, too."""
    prefix = "SGLANG_DISAGGREGATION_"
    times = {name: environment.get(f"{prefix}{name.upper()}_TIMEOUT") for name in ("bootstrap", "waiting")}
    try:
        patience = Patience(**{name: float(text) for name, text in times.items() if text is not None})
    except ValueError as error:
        raise BadOption(f"{prefix}BOOTSTRAP_TIMEOUT, {prefix}WAITING_TIMEOUT: {error}") from error
    mode = given.disaggregation_mode
    return SglangSettings(
        mode=None if mode == "null" else Mode(mode),
        patience=patience,
        decode_cache=given.decode_cache,
        bootstrap_port=given.disaggregation_bootstrap_port,
        may_switch=given.may_switch,
        header_overrides=environment.get("SGLANG_ENABLE_REQUEST_HEADER_OVERRIDES", "").lower() in _ON,
    )


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
        "max_batched_tokens": given.max_batched_tokens,
        "max_sequences": given.max_sequences,
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
