import json
from pathlib import Path
from typing import Any

import pytest

from pdscale.emulator.modes import Mode, Patience
from pdscale.emulator.option_values import BadOption
from pdscale.emulator.options import parse
from pdscale.emulator.settings import Protocol, SglangSettings
from pdscale.emulator.transfer import OnFailure, TransferConfig
from pdscale.perf.builtin import BUILTIN


def nixl(**changes: Any) -> str:
    return json.dumps({"kv_connector": "NixlConnector", "kv_role": "kv_both", **changes})


def test_nothing_given_is_a_usable_engine() -> None:
    settings, ignored = parse([], {})
    assert (settings.port, settings.served.models, ignored) == (8000, ("emulated",), ())
    assert settings.profile is BUILTIN["llama-3.1-8b-fp8-h200-dynamo"]
    assert settings.transfer is None


def test_a_command_line_of_vllm_works_word_for_word() -> None:
    words = (
        "serve meta/llama --served-model-name tiny small --host 10.0.0.1 --port 8100 --max-model-len 4K "
        "--max_num_seqs=64 --max-num-batched-tokens 2048 --block-size 32 --scheduling-policy priority "
        "--enable-prompt-tokens-details --gpu-memory-utilization 0.9 --enforce-eager --shutdown-timeout 9"
    )
    extra = {"bidirectional_kv_xfer": True, "kv_recompute_threshold": 9, "decoder_kv_blocks_ttl": 60}
    config = nixl(kv_load_failure_policy="recompute", kv_connector_extra_config=extra)
    settings, ignored = parse([*words.split(), "--kv-transfer-config", config], {})
    assert ignored == ("--gpu-memory-utilization", "--enforce-eager")
    assert settings.served.models == ("tiny", "small")
    assert settings.served.prompt_tokens_details
    assert (settings.host, settings.port, settings.shutdown_timeout) == ("10.0.0.1", 8100, 9.0)
    limits = settings.limits
    assert (limits.max_model_len, limits.max_sequences) == (4096, 64)
    assert (limits.max_batched_tokens, limits.block_size, limits.by_priority) == (2048, 32, True)
    assert settings.transfer == TransferConfig(True, 9, 60.0, 30.0, OnFailure.RECOMPUTE)


def test_the_environment_says_where_the_side_channel_is() -> None:
    environment = {"VLLM_NIXL_SIDE_CHANNEL_HOST": "10.0.0.1", "VLLM_NIXL_SIDE_CHANNEL_PORT": "5700"}
    settings, _ = parse([], environment)
    assert (settings.side_channel_host, settings.side_channel_port) == ("10.0.0.1", 5700)
    settings, _ = parse(["--side-channel-port", "0"], environment)
    assert settings.side_channel_port == 0


def test_the_emulators_own_options() -> None:
    words = "--speed 10 --start-up-seconds 3 --kv-tokens 1000 --kv-lease-seconds 5 --mean-answer-tokens 0"
    settings, _ = parse([*words.split(), "--kv-transfer-config", nixl()], {})
    assert (settings.limits.speed, settings.start_up) == (10.0, 3.0)
    assert (settings.limits.kv_tokens, settings.limits.max_model_len) == (992, 992)
    assert settings.limits.answer_length == 0
    assert settings.transfer is not None
    assert settings.transfer.lease == 5.0


def test_a_command_line_of_sglang_works_word_for_word() -> None:
    words = (
        "--protocol sglang --model-path meta/llama --host 10.0.0.1 --port 8000 --tp-size 2 "
        "--disaggregation-mode decode --disaggregation-bootstrap-port 9000 --enable-pd-role-switch "
        "--disaggregation-decode-enable-radix-cache --enable-metrics --enable-cache-report --page-size 64 "
        "--max-running-requests 32 --chunked-prefill-size 4096 --context-length 8k --max-total-tokens 64000"
    )
    times = {"SGLANG_DISAGGREGATION_WAITING_TIMEOUT": "20", "SGLANG_ENABLE_REQUEST_HEADER_OVERRIDES": "true"}
    settings, ignored = parse(words.split(), times)
    assert ignored == ("--tp-size",)
    assert settings.protocol is Protocol.SGLANG
    assert (settings.served.models, settings.served.prompt_tokens_details) == (("meta/llama",), True)
    assert settings.sglang == SglangSettings(
        mode=Mode.DECODE,
        patience=Patience(bootstrap=300.0, waiting=20.0),
        decode_cache=True,
        bootstrap_port=9000,
        may_switch=True,
        header_overrides=True,
    )
    limits = settings.limits
    assert (limits.kv_tokens, limits.block_size, limits.max_model_len) == (64000, 64, 8000)
    assert (limits.max_sequences, limits.max_batched_tokens) == (32, 4096)
    assert settings.transfer is None


def test_sglang_alone_has_no_mode_and_its_own_port() -> None:
    settings, _ = parse(["--protocol", "sglang"], {})
    assert (settings.sglang.mode, settings.port) == (None, 30000)


def test_impossible_patience_names_its_variables() -> None:
    with pytest.raises(BadOption, match=r"_WAITING_TIMEOUT: patience.waiting must be above 0s"):
        parse(["--protocol", "sglang"], {"SGLANG_DISAGGREGATION_WAITING_TIMEOUT": "0"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "70000"], r"--port: must be a whole number in 0..65535, got 70000"),
        (["--max-num-seqs", "0"], r"--max-num-seqs: must be a whole number at least 1, got 0"),
        (["--max-num-seqs", "many"], r"--max-num-seqs: must be .* got many"),
        (["--speed", "0"], r"--speed: must be a number above 0, got 0"),
        (["--speed", "nan"], r"--speed: must be a number above 0, got nan"),
        (["--protocol", "tgi"], r"--protocol: .*'tgi'"),
        (["--protocol", "sglang", "--disaggregation-mode", "both"], r"--disaggregation-mode: .*'both'"),
        (["--scheduling-policy", "lifo"], r"--scheduling-policy: .*'lifo'"),
        (["--profile", "abacus"], r"--profile must be one of .*, got abacus"),
        (["--profile-file", "/nowhere"], r"--profile-file /nowhere: .*No such file"),
        (["--profile", "x", "--profile-file", "y"], r"must not be given together"),
        (["--kv-tokens", "9"], r"--kv-tokens must hold a block of 16, got 9"),
        (
            ["--kv-tokens", "1600", "--max-model-len", "2000"],
            r"--max-model-len: .* at most the KV capacity of 1600 .* got 2000",
        ),
        (["--kv-transfer-config", "{"], r"--kv-transfer-config must be JSON"),
        (["--kv-transfer-config", "[]"], r"--kv-transfer-config must be a JSON object"),
        (
            ["--kv-transfer-config", '{"kv_connector": "LMCacheConnectorV1"}'],
            r"kv_connector must be one of NixlConnector, got LMCacheConnectorV1",
        ),
        (
            ["--kv-transfer-config", nixl(kv_load_failure_policy="pray")],
            r"kv_load_failure_policy must be one of fail, recompute, got pray",
        ),
        (
            ["--kv-transfer-config", nixl(kv_connector_extra_config={"kv_lease_duration": 0})],
            r"kv_lease_duration must be above 0s, got 0.0s",
        ),
        (
            ["--kv-transfer-config", nixl(kv_connector_extra_config={"bidirectional_kv_xfer": 1})],
            r"bidirectional_kv_xfer must be of type bool, got 1",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_option_and_bound(words: list[str], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        parse(words, {})


def test_a_profile_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    document = {
        "name": "mine",
        "source": "measured",
        "prefill": [[None, 0.01, 1e-5, 0]],
        "decode": [[64, 0.01, 0, 0], [None, 0.02, 0, 0]],
        "kv_capacity": 1600,
        "kv_bytes_per_token": 1000,
        "transfer_bandwidth": 1e9,
    }
    file.write_text(json.dumps(document))
    settings, _ = parse(["--profile-file", str(file)], {})
    assert settings.profile.step_seconds(65, 0) == 0.02
    assert settings.limits.kv_tokens == 1600
