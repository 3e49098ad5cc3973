"""The objects that bring the plugin to a cluster."""

from types import SimpleNamespace
from typing import Any

from pdscale_e2e.gpu_plugin.__main__ import parse
from pdscale_e2e.gpu_plugin.manifest import daemonset, label_and_taint


def test_the_container_runs_a_command_that_the_program_understands() -> None:
    _, found = daemonset("plugin:1", gpus=8, selector={"gpus": "mock"})
    container = found["spec"]["template"]["spec"]["containers"][0]
    words = [w.replace("$(NODE_NAME)", "w").replace("$(POD_IP)", "10.244.1.2") for w in container["command"]]
    assert words[:3] == ["python", "-m", "pdscale_e2e.gpu_plugin"]
    options = parse(words[3:])
    assert (options.gpus, options.node, options.host) == (8, "w", "10.244.1.2")
    assert options.port == container["ports"][0]["containerPort"]
    assert str(options.folder) == container["volumeMounts"][0]["mountPath"]


def test_it_runs_on_the_selected_nodes_despite_their_taint() -> None:
    namespace, found = daemonset("plugin:1", gpus=8, selector={"gpus": "mock"})
    pod = found["spec"]["template"]["spec"]
    assert found["metadata"]["namespace"] == namespace["metadata"]["name"] == "gpu-plugin"
    assert pod["nodeSelector"] == {"gpus": "mock"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


class Nodes:
    """One node's taints, and the patches it gets."""

    def __init__(self, *taints: SimpleNamespace) -> None:
        self._taints = list(taints) or None
        self.patches: list[Any] = []

    def read_node(self, name: str) -> Any:
        return SimpleNamespace(spec=SimpleNamespace(taints=self._taints))

    def patch_node(self, name: str, body: Any) -> None:
        self.patches.append((name, body))


def test_a_worker_gets_the_labels_and_the_taint_of_a_node_with_gpus() -> None:
    nodes = Nodes()
    label_and_taint(nodes, "w", gpus=4)
    [(name, body)] = nodes.patches
    assert name == "w"
    assert body["metadata"]["labels"] == {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": "4",
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.memory": "81559",
    }
    assert body["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]


def test_tainting_again_neither_repeats_our_taint_nor_drops_others() -> None:
    ours, other = SimpleNamespace(key="nvidia.com/gpu"), SimpleNamespace(key="spot")
    nodes = Nodes(ours, other)
    label_and_taint(nodes, "w")
    taints = nodes.patches[0][1]["spec"]["taints"]
    assert taints == [other, {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
