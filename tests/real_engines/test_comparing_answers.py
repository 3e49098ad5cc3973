"""What of the tier ``engines`` needs no engine: shapes, the table of differences, weights, commands."""

import json
import struct
from pathlib import Path

import pytest
import yaml

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.kube.manifests_pod import Defaults, Pods
from pdscale.model.pools import Role
from pdscale_e2e.engines.command import NoEngine, Vllm, engine_start, find_vllm, transfer_config
from pdscale_e2e.engines.figures import read_figures
from pdscale_e2e.engines.on_purpose import Row, judge
from pdscale_e2e.engines.shapes import differences, metric_differences, shape_of
from pdscale_e2e.engines.weights import PRINTABLE, llama, write_safetensors

CONFIG = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": 100,
}


def test_shapes_leave_out_what_differs_between_any_two_engines() -> None:
    event = {"id": "a", "choices": [{"delta": {"content": "x"}}]}
    one = shape_of(200, {"Content-Type": "text/event-stream"}, "data: [DONE]\n\n", (event, event))
    other = shape_of(200, {"content-type": "text/event-stream"}, "data: [DONE]\n\n", (event,))
    assert one == other
    assert list(differences(one, other)) == []


def test_a_difference_of_status_type_and_key_is_told() -> None:
    one = shape_of(400, {}, "", ({"error": {"type": "A", "code": 400}},))
    other = shape_of(200, {}, "", ({"error": {"type": "B", "code": "400"}, "id": None},))
    assert list(differences(one, other)) == [
        "status 400 not 200",
        "+ error type=A",
        "- error type=B",
        "0: + error.code: int",
        "0: - error.code: str",
        "0: - id: null",
    ]


FIRST = {"choices": [{"delta": {"role": "assistant"}, "finish_reason": None}]}
NEXT = {"choices": [{"delta": {"content": "x"}, "finish_reason": None}]}
LAST = {"choices": [{"delta": {"content": "x"}, "finish_reason": "length"}]}


def test_tokens_that_a_busy_engine_merged_into_its_last_event_are_no_difference() -> None:
    merged = shape_of(200, {}, "", (FIRST, LAST))
    one_by_one = shape_of(200, {}, "", (FIRST, NEXT, NEXT, LAST))
    assert list(differences(merged, one_by_one)) == []
    assert "3 kinds of events not 2" in list(differences(one_by_one, merged))
    assert "1 kinds of events not 3" in list(differences(shape_of(200, {}, "", (FIRST,)), one_by_one))


def test_metrics_are_compared_by_name_type_and_labels() -> None:
    one = read_figures(
        '# TYPE vllm:a gauge\nvllm:a{x="1"} 2.0\n# TYPE vllm:b_total counter\nvllm:b_total 1.0\n'
    )
    other = read_figures('# TYPE vllm:a gauge\nvllm:a{y="1"} 2.0\n')
    assert list(metric_differences(one, other)) == ["vllm:a: gauge(x) not gauge(y)", "+ vllm:b_total"]


def test_an_absent_series_is_no_zero() -> None:
    page = read_figures('# TYPE a counter\na{x="1"} 2.0\na{x="2"} 3.0\n')
    assert (page.total("a"), page.total("a", x="1")) == (5.0, 2.0)
    with pytest.raises(LookupError, match="no series b"):
        page.total("b")


def test_a_difference_without_a_row_and_a_row_without_a_difference_are_both_found() -> None:
    rows = (Row("models", "0: + data[].x: *", "nobody reads it"), Row("metrics", "- *", "none"))
    judged = judge([("models", "0: + data[].x: int"), ("chat", "status 400 not 200")], rows)
    assert judged.unexplained == ("chat | status 400 not 200",)
    assert judged.idle == (rows[1],)


def test_the_engine_is_started_by_what_the_operator_renders() -> None:
    start = engine_start(Vllm(Path("/opt/vllm"), Path("/model")), "10.0.0.7", transfer=transfer_config())
    assert start.argv[:3] == ["/opt/vllm", "serve", "/model"]
    assert start.argv[start.argv.index("--host") + 1] == "10.0.0.7"
    assert start.env["VLLM_NIXL_SIDE_CHANNEL_HOST"] == "10.0.0.7"
    last = len(start.argv) - start.argv[::-1].index("--kv-transfer-config")
    assert json.loads(start.argv[last]) == {
        "kv_connector": "NixlConnector",
        "kv_role": "kv_both",
        "kv_buffer_device": "cpu",
        "kv_connector_extra_config": {"bidirectional_kv_xfer": True, "decoder_kv_blocks_ttl": 60},
    }


def test_the_example_differs_from_what_is_tested_in_model_image_and_device_only() -> None:
    manifest = yaml.safe_load((Path(__file__).parents[2] / "examples" / "vllm.yaml").read_text())
    parent = ServingDeployment.model_validate(manifest, extra="forbid")
    containers = Pods(parent, Defaults(router_image="router")).of_pool(Role.DECODE, {})["spec"]["containers"]
    tested = engine_start(Vllm(Path("/opt/vllm"), Path("/model")), "10.0.0.7", transfer=transfer_config())
    assert options(containers[0]["args"]) - options(tested.argv) == {"--gpu-memory-utilization"}


def options(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match="PDSCALE_VLLM is None"):
        find_vllm({})
    program = tmp_path / "vllm"
    program.touch()
    with pytest.raises(NoEngine, match="PDSCALE_TINY_MODEL must name a folder"):
        find_vllm({"PDSCALE_VLLM": str(program)})


def test_weights_are_written_so_that_they_can_be_read_again(tmp_path: Path) -> None:
    tensors = llama(CONFIG)
    write_safetensors(tmp_path / "w", tensors)
    content = (tmp_path / "w").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert header.keys() == tensors.keys()
    begin, end = header["lm_head.weight"]["data_offsets"]
    head = content[8 + length + begin : 8 + length + end]
    assert len(head) == 4 * 100 * 8
    assert head == tensors["lm_head.weight"].tobytes()
    assert not any(head[4 * 8 * PRINTABLE :])
