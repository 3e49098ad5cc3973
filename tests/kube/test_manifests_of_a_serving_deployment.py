"""What is created for a ServingDeployment: names, ownership, one pod shape, engines' commands, overrides."""

import copy
import json
from collections.abc import Sequence
from typing import Any

import pytest

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import InvalidSpec, read
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import read_profile

PROFILE = BUILTIN["llama-2-70b-a100-tp8-2023"]
DEFAULTS = Defaults("pdscale/router:test")
VLLM = {"engine": {"type": "vLLM", "image": "vllm/vllm-openai:test"}}
SGLANG = {"engine": {"type": "SGLang", "image": "sglang:test"}}
OWN_PROFILE = {"profile": {"name": None, "configMap": {"name": "mine"}}}

Json = dict[str, Any]


def rendered(spec: Json | None = None) -> dict[tuple[str, str], Json]:
    body = merged(GOOD, {"metadata": {"uid": "u-1", "namespace": "team"}, "spec": spec or {}})
    found = render(read(body), profile=PROFILE, defaults=DEFAULTS)
    return {(m["kind"], m["metadata"]["name"]): m for m in found}


def pod(role: str, spec: Json | None = None) -> Json:
    template: Json = rendered(spec)["Deployment", f"chat-{role}"]["spec"]["template"]
    return template


def engine(spec: Json | None = None, role: str = "decode") -> Json:
    container: Json = pod(role, spec)["spec"]["containers"][0]
    return container


def sidecar(spec: Json | None = None) -> Json:
    container: Json = pod("decode", spec)["spec"]["initContainers"][0]
    return container


def after(arguments: Sequence[str], flag: str) -> str:
    return arguments[list(arguments).index(flag) + 1]


def env(container: Json) -> dict[str, Any]:
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container["env"]}


def test_there_is_everything_that_a_deployment_needs_and_nothing_else() -> None:
    assert list(rendered()) == [
        ("ServiceAccount", "chat-router"),
        ("RoleBinding", "chat-router"),
        ("Service", "chat"),
        ("Service", "chat-prefill"),
        ("Service", "chat-decode"),
        ("Deployment", "chat-router"),
        ("Deployment", "chat-prefill"),
        ("Deployment", "chat-decode"),
    ]


def test_the_same_spec_gives_the_same_bytes() -> None:
    assert json.dumps(list(rendered().values())) == json.dumps(list(rendered().values()))


def test_every_object_is_owned_labelled_and_in_the_same_namespace() -> None:
    for manifest in rendered(OWN_PROFILE).values():
        meta = manifest["metadata"]
        assert meta["namespace"] == "team"
        assert meta["ownerReferences"] == [
            {
                "apiVersion": "pdscale.io/v1alpha1",
                "kind": "ServingDeployment",
                "name": "chat",
                "uid": "u-1",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        role = meta["labels"]["pdscale.io/role"]
        assert meta["labels"] == {
            "app.kubernetes.io/name": "pdscale",
            "app.kubernetes.io/instance": "chat",
            "app.kubernetes.io/component": role,
            "app.kubernetes.io/managed-by": "pdscale",
            "pdscale.io/deployment": "chat",
            "pdscale.io/role": role,
        }


def test_pools_say_nothing_of_replicas_and_the_front_router_does() -> None:
    found = rendered({"router": {"replicas": 3}})
    assert "replicas" not in found["Deployment", "chat-prefill"]["spec"]
    assert "replicas" not in found["Deployment", "chat-decode"]["spec"]
    assert found["Deployment", "chat-router"]["spec"]["replicas"] == 3


def test_a_pool_is_replaced_pod_by_pod_without_surge() -> None:
    strategy = rendered()["Deployment", "chat-decode"]["spec"]["strategy"]
    assert strategy["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


@pytest.mark.parametrize("role", ["prefill", "decode", "router"])
def test_selectors_use_the_two_labels_that_the_routers_go_by(role: str) -> None:
    deployment = rendered()["Deployment", f"chat-{role}"]["spec"]
    wanted = {"pdscale.io/deployment": "chat", "pdscale.io/role": role}
    assert deployment["selector"]["matchLabels"] == wanted
    assert wanted.items() <= deployment["template"]["metadata"]["labels"].items()
    service = rendered()["Service", "chat" if role == "router" else f"chat-{role}"]
    assert service["spec"]["selector"] == wanted


def test_services_of_pools_are_headless_and_the_front_has_port_80() -> None:
    found = rendered()
    assert found["Service", "chat-decode"]["spec"]["clusterIP"] == "None"
    front = found["Service", "chat"]["spec"]
    assert (front["type"], front["ports"][0]["port"], front["ports"][0]["targetPort"]) == (
        "ClusterIP",
        80,
        "http",
    )


@pytest.mark.parametrize("spec", [{}, VLLM, SGLANG, OWN_PROFILE], ids=["emulated", "vllm", "sglang", "own"])
def test_both_roles_have_one_shape_so_that_a_label_moves_a_pod(spec: Json) -> None:
    prefill, decode = pod("prefill", spec), pod("decode", spec)
    assert prefill["spec"] == decode["spec"]
    assert prefill["metadata"]["annotations"] == decode["metadata"]["annotations"]


def test_the_router_beside_the_engine_is_a_native_sidecar() -> None:
    assert sidecar()["name"] == "router"
    assert sidecar()["restartPolicy"] == "Always"
    assert sidecar()["command"] == ["python", "-m", "pdscale.router"]
    arguments = sidecar()["args"]
    assert after(arguments, "--place") == "sidecar"
    assert after(arguments, "--engine-url") == "http://$(POD_IP):8000"
    assert after(arguments, "--host") == "$(POD_IP)"
    assert after(arguments, "--placement") == "CostBased"
    assert "--reject-late" not in arguments
    assert after(arguments, "--profile") == PROFILE.name
    assert (after(arguments, "--ttft"), after(arguments, "--tpot")) == ("2s", "75ms")


def test_the_front_router_has_no_engine() -> None:
    container = pod("router")["spec"]["containers"][0]
    assert after(container["args"], "--place") == "front"
    assert "--engine-url" not in container["args"]
    assert "volumes" not in pod("router")["spec"]


def test_routers_run_under_the_account_that_may_see_pods() -> None:
    found = rendered()
    binding = found["RoleBinding", "chat-router"]
    assert binding["roleRef"]["kind"] == "ClusterRole"
    assert binding["roleRef"]["name"] == "pdscale-router"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "chat-router", "namespace": "team"}]
    for role in ("prefill", "decode", "router"):
        assert pod(role)["spec"]["serviceAccountName"] == "chat-router"


def test_routers_are_restricted() -> None:
    for container in (sidecar(VLLM), pod("router")["spec"]["containers"][0], engine()):
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "securityContext" not in engine(VLLM)


def test_a_pod_may_drain_before_it_is_killed() -> None:
    spec = pod("decode", {"router": {"drainTimeout": "90s"}})["spec"]
    assert spec["terminationGracePeriodSeconds"] == 105
    assert after(sidecar({"router": {"drainTimeout": "90s"}})["args"], "--drain-timeout") == "90s"


def test_the_engine_is_signalled_only_when_its_router_has_nothing_open() -> None:
    hook = engine()["lifecycle"]["preStop"]["httpGet"]
    # A number: names of ports are looked up in the hook's own container, and this one is the router's.
    assert hook == {"path": "/drained", "port": 9090}


def test_a_replica_holds_its_gpus_and_tolerates_their_taint() -> None:
    assert engine()["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    assert pod("decode")["spec"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]


def test_vllm_is_told_how_to_hand_over_kv_in_both_directions() -> None:
    container = engine(VLLM)
    assert container["command"] == ["vllm", "serve"]
    assert container["args"][0] == GOOD["spec"]["model"]
    assert after(container["args"], "--tensor-parallel-size") == "8"
    assert "--enable-prompt-tokens-details" in container["args"]
    assert json.loads(after(container["args"], "--kv-transfer-config")) == {
        "kv_connector": "NixlConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"bidirectional_kv_xfer": True, "decoder_kv_blocks_ttl": 60},
    }
    assert env(container)["VLLM_NIXL_SIDE_CHANNEL_HOST"] == "$(POD_IP)"


def test_an_engine_knows_its_address_before_anything_refers_to_it() -> None:
    for spec in ({}, VLLM, SGLANG):
        assert next(iter(env(engine(spec)))) == "POD_IP"
        assert after(engine(spec)["args"], "--host") == "$(POD_IP)"


def test_sglang_takes_its_role_from_the_label_when_its_container_starts() -> None:
    container = engine(SGLANG)
    assert after(container["args"], "--disaggregation-mode") == "$(PDSCALE_ROLE_AT_START)"
    source = env(container)["PDSCALE_ROLE_AT_START"]
    assert source == {"fieldRef": {"fieldPath": "metadata.labels['pdscale.io/role']"}}
    assert "--enable-pd-role-switch" in container["args"]


def test_an_emulated_engine_runs_the_routers_image_on_the_profile() -> None:
    container = engine()
    assert container["image"] == "pdscale/router:test"
    assert container["command"] == ["python", "-m", "pdscale.emulator"]
    assert after(container["args"], "--profile") == PROFILE.name


@pytest.mark.parametrize("kind", [VLLM, SGLANG, {}], ids=["vllm", "sglang", "emulated"])
def test_the_users_arguments_come_last(kind: Json) -> None:
    spec = merged(kind, {"engine": {"args": ["--port", "9"]}})
    assert engine(spec)["args"][-2:] == ["--port", "9"]
    assert len(engine(spec)["args"]) == len(engine(kind)["args"]) + 2


def test_the_users_command_replaces_ours_with_its_arguments() -> None:
    container = engine({"engine": {"command": ["/serve"], "args": ["--now"]}})
    assert (container["command"], container["args"]) == (["/serve"], ["--now"])


def test_the_users_variables_come_last_and_replace_ours() -> None:
    variables = [{"name": "A", "value": "$(POD_IP)"}, {"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "value": "h"}]
    found = env(engine(merged(VLLM, {"engine": {"env": variables}})))
    assert list(found)[-2:] == ["A", "VLLM_NIXL_SIDE_CHANNEL_HOST"]
    assert found["VLLM_NIXL_SIDE_CHANNEL_HOST"] == "h"
    assert len(found) == 5


def test_engines_with_workers_get_shared_memory() -> None:
    assert {"name": "shm", "mountPath": "/dev/shm"} in engine(VLLM)["volumeMounts"]
    assert pod("decode", VLLM)["spec"]["volumes"] == [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    assert "volumes" not in pod("decode")["spec"]


def test_a_profile_of_ones_own_reaches_routers_and_emulated_engines_as_a_file() -> None:
    written = rendered(OWN_PROFILE)["ConfigMap", "chat-router-profile"]["data"]["profile.json"]
    assert read_profile(json.loads(written)) == PROFILE
    front = pod("router", OWN_PROFILE)["spec"]["containers"][0]
    for container in (engine(OWN_PROFILE), sidecar(OWN_PROFILE), front):
        assert after(container["args"], "--profile-file") == "/etc/pdscale/profile.json"
        assert container["volumeMounts"][-1]["mountPath"] == "/etc/pdscale"
    for role in ("decode", "router"):
        volumes = pod(role, OWN_PROFILE)["spec"]["volumes"]
        assert volumes == [{"name": "profile", "configMap": {"name": "chat-router-profile"}}]


def override(template: Json) -> Json:
    return {"decode": {"podTemplate": template}}


def test_an_override_changes_one_role_only() -> None:
    spec = override({"spec": {"priorityClassName": "serving"}})
    assert pod("decode", spec)["spec"]["priorityClassName"] == "serving"
    assert pod("prefill", spec) == pod("prefill")


def test_containers_are_matched_by_name() -> None:
    changed = {"name": "engine", "resources": {"limits": {"memory": "64Gi"}}, "livenessProbe": None}
    helper = {"name": "exporter", "image": "dcgm"}
    found = pod("decode", override({"spec": {"containers": [helper, changed]}}))["spec"]["containers"]
    assert [c["name"] for c in found] == ["engine", "exporter"]
    assert found[0]["resources"]["limits"] == {"nvidia.com/gpu": "8", "memory": "64Gi"}
    assert "livenessProbe" not in found[0]
    assert found[0]["args"] == engine()["args"]


def test_tolerations_add_up_and_volumes_join() -> None:
    toleration = {"key": "team", "operator": "Exists"}
    volume = {"name": "weights", "persistentVolumeClaim": {"claimName": "w"}}
    spec = merged(VLLM, override({"spec": {"tolerations": [toleration], "volumes": [volume]}}))
    found = pod("decode", spec)["spec"]
    assert found["tolerations"][1:] == [toleration]
    assert [v["name"] for v in found["volumes"]] == ["shm", "weights"]


def test_labels_and_annotations_join_ours() -> None:
    spec = override({"metadata": {"labels": {"team": "a"}, "annotations": {"b": "c"}}})
    meta = pod("decode", spec)["metadata"]
    assert meta["labels"]["team"] == "a"
    assert meta["labels"]["pdscale.io/role"] == "decode"
    assert meta["annotations"] == {"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "b": "c"}


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param(
            {"metadata": {"labels": {"pdscale.io/role": "prefill"}}},
            r"spec\.decode\.podTemplate\.metadata\.labels must not set pdscale\.io/role.*got prefill",
            id="our_label",
        ),
        pytest.param(
            {"spec": {"containers": {"name": "engine"}}},
            r"spec\.decode\.podTemplate\.spec\.containers must be a list",
            id="no_list",
        ),
        pytest.param(
            {"spec": {"containers": [{"image": "x"}]}},
            r"spec\.decode\.podTemplate\.spec\.containers\[0\]\.name is required",
            id="no_name",
        ),
    ],
)
def test_an_override_that_cannot_be_meant_is_an_invalid_spec(template: Json, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        pod("decode", override(template))


def test_merging_leaves_what_was_merged_alone() -> None:
    theirs = {"spec": {"containers": [{"name": "engine", "env": [{"name": "A", "value": "1"}]}]}}
    before = copy.deepcopy(theirs)
    assert pod("decode", override(theirs)) == pod("decode", override(theirs))
    assert theirs == before
    assert "A" not in env(engine(role="prefill", spec=override(theirs)))


def test_pull_secrets_of_the_router_reach_every_pod_and_join_the_users_own() -> None:
    router = {"router": {"imagePullSecrets": [{"name": "registry"}]}}
    theirs = {"decode": {"podTemplate": {"spec": {"imagePullSecrets": [{"name": "engines"}]}}}}
    assert pod("router", router)["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert pod("decode", router | theirs)["spec"]["imagePullSecrets"] == [
        {"name": "registry"},
        {"name": "engines"},
    ]
    assert "imagePullSecrets" not in pod("router")["spec"]


def test_a_pickers_header_counts_only_where_the_spec_says_so() -> None:
    assert "--honour-prefiller-header" not in sidecar()["args"]
    assert "--honour-prefiller-header" in sidecar({"router": {"honourPrefillerHeader": True}})["args"]


def test_labels_of_pickers_may_be_the_users_own() -> None:
    theirs = {"decode": {"podTemplate": {"metadata": {"labels": {"llm-d.ai/role": "decode-large"}}}}}
    assert pod("decode", theirs)["metadata"]["labels"]["llm-d.ai/role"] == "decode-large"
