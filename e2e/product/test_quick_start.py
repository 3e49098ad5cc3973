"""The quick start on kind, typed as it stands on the page.

The suite's own cluster stands in for the reader's: it was made and got its images as the page says, which
``tests/cluster/test_quick_start_page.py`` compares. So it does the operator's values: the page installs it
once more, and the tests after this one find what they know.
"""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

from pdscale_e2e.binaries import program
from pdscale_e2e.cluster.kind import NAME, KindCluster
from pdscale_e2e.install import ROOT
from pdscale_e2e.objects import Objects
from pdscale_e2e.page import READER, Shell, blocks

pytestmark = [pytest.mark.cluster, pytest.mark.containers, pytest.mark.workers, pytest.mark.long]
PAGE = ROOT / "docs" / "quick-start-kind.md"


@pytest.fixture
def shell(objects: Objects, cluster: KindCluster, tmp_path: Path) -> Iterator[Shell]:
    if missing := [name for name in ("kubectl", "curl", "make") if shutil.which(name) is None]:
        complain = pytest.fail if os.environ.get("E2E_REQUIRED") else pytest.skip
        complain(f"the quick start is typed with {', '.join(missing)}: not on the PATH")
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(_in_namespace(cluster.kubeconfig.read_text(), objects.namespace))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What a make around this run has told its children is not for the page's own.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environ["PATH"] = f"{program('helm').parent}{os.pathsep}{os.environ['PATH']}"
    environ |= {"KUBECONFIG": str(kubeconfig), "CLUSTER": NAME, "PORT": str(port)}
    with Shell(cwd=ROOT, environ=environ) as shell:
        yield shell


def _in_namespace(kubeconfig: str, namespace: str) -> str:
    """The same access; what names no namespace goes to this one."""
    content = yaml.safe_load(kubeconfig)
    for context in content["contexts"]:
        context["context"]["namespace"] = namespace
    return yaml.safe_dump(content)


def test_every_command_of_the_page_succeeds_in_order(shell: Shell, objects: Objects) -> None:
    printed = [shell.run(b, within=300) for b in blocks(PAGE.read_text()) if b.run_by == READER]
    answer = next(text for text in printed if "/v1/chat/completions" in text)
    assert '"chat.completion"' in answer
    assert any("ForecastDemand" in text or "ReactiveDemand" in text for text in printed)
    custom: Any = client.CustomObjectsApi(objects.api)
    left = custom.list_namespaced_custom_object(
        "pdscale.io", "v1alpha1", objects.namespace, "servingdeployments"
    )
    assert left["items"] == []
