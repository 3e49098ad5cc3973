"""Choosing an engine, naming images, writing archives: against commands that only write down their calls."""

import gzip
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pdscale_e2e import compiled_wheel, compiling, containers, images, wheels
from pdscale_e2e.containers import Containers, ImagesUnavailable
from pdscale_e2e.layers import compressed

ENGINE = """#!{python}
import json, pathlib, sys
arguments = sys.argv[1:]
with open({calls!r}, "a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
if arguments[0] == "info":
    sys.exit({code})
if arguments[0] == "run" and "dpkg" in arguments[-1]:
    print('{{"python": "3.11.9", "system": "debian", "packages": [["libc6", "2.36-9+deb12u9", "amd64"]]}}')
elif arguments[0] == "run" and "import_module" in arguments[-1]:
    print({plain!r})
elif arguments[0] == "run":
    print('[3, 11, "x86_64", "2.36"]')
if arguments[0] == "image":
    print(json.dumps([{{"Id": {identity!r}, "Size": 1000, "RootFS": {{"Layers": ["sha256:1"]}}}}]))
if arguments[0] == "save":
    at = arguments.index("--output") + 1
    pathlib.Path(arguments[at]).write_text(" ".join(arguments[at + 1 :]))
"""


class Machine:
    """A folder as the whole PATH, with engines in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._calls = folder / "calls"

    def engine(
        self, name: str, *, answers: bool = True, identity: str = "sha256:abc", plain: str = "[]"
    ) -> None:
        """``plain``: modules that images import as sources although they were compiled."""
        text = ENGINE.format(
            python=sys.executable,
            calls=str(self._calls),
            code=0 if answers else 1,
            identity=identity,
            plain=plain,
        )
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def put(self, name: str) -> None:
        """A file in the checkout."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text("content")

    def environ(self, **further: str) -> dict[str, str]:
        return {"PATH": str(self.folder), **further}

    def calls(self, verb: str) -> list[list[str]]:
        found = [json.loads(line) for line in self._calls.read_text().splitlines()]
        return [call for call in found if call[0] == verb]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Engines are found in a folder of the test's own, and nothing is downloaded."""
    monkeypatch.setattr(wheels, "gather", lambda name, wanted, interpreter: tmp_path / name)
    monkeypatch.setattr(wheels, "own_package", lambda: tmp_path)
    monkeypatch.setattr(compiled_wheel, "gather", lambda interpreter: tmp_path / compiled_wheel.NAME)
    monkeypatch.setattr(images, "_prometheus", lambda: None)
    monkeypatch.setattr(images, "_CONTEXT", tmp_path / "context")
    (tmp_path / "Dockerfile").touch()
    (tmp_path / ".dockerignore").touch()
    monkeypatch.setattr(wheels, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return Machine(tmp_path)


def test_docker_is_taken_if_its_daemon_answers(machine: Machine) -> None:
    machine.engine("docker")
    machine.engine("podman")
    assert containers.find(machine.environ()).command == "docker"


def test_podman_is_taken_if_docker_has_no_daemon(machine: Machine) -> None:
    machine.engine("docker", answers=False)
    machine.engine("podman")
    assert containers.find(machine.environ()).command == "podman"


def test_kinds_own_choice_counts_first(machine: Machine) -> None:
    machine.engine("docker")
    machine.engine("podman")
    chosen = containers.find(machine.environ(KIND_EXPERIMENTAL_PROVIDER="podman"))
    assert chosen.command == "podman"


@pytest.mark.parametrize(
    ("further", "said"),
    [
        pytest.param({}, "tried docker and podman", id="none there"),
        pytest.param({"KIND_EXPERIMENTAL_PROVIDER": "nerdctl"}, "is 'nerdctl'", id="the chosen one missing"),
    ],
)
def test_no_engine_is_said_with_what_was_tried(machine: Machine, further: dict[str, str], said: str) -> None:
    with pytest.raises(ImagesUnavailable, match=said):
        containers.find(machine.environ(**further))


def test_images_have_the_same_full_name_with_every_engine(machine: Machine) -> None:
    machine.engine("podman")
    made = images.build(["router"], tag="7", environ=machine.environ())
    assert made["router"].reference == "localhost/pdscale/router:7"
    assert made["router"].archive is None


def test_the_build_gets_the_users_base_image_and_no_network(machine: Machine) -> None:
    machine.engine("podman")
    images.build(["router"], environ=machine.environ(PYTHON_BASE_IMAGE="mine:1"))
    (call,) = machine.calls("build")
    assert "BASE_IMAGE=mine:1" in call
    assert call[call.index("--network") + 1] == "none"


def test_only_the_routers_image_is_compiled_and_only_if_asked(machine: Machine) -> None:
    machine.engine("podman")
    images.build(["router", "operator"], compiled=True, environ=machine.environ())
    images.build(["router"], environ=machine.environ())
    own = [[word for word in call if word.startswith("OWN=")] for call in machine.calls("build")]
    assert own == [["OWN=pdscale-compiled"], ["OWN=pdscale"], ["OWN=pdscale"]]


def test_an_image_that_imports_sources_is_not_built_and_not_taken_the_next_time(machine: Machine) -> None:
    machine.engine("podman", plain='["pdscale.router.flows.front"]')
    for _ in range(2):
        with pytest.raises(
            ImagesUnavailable, match=r"router:1 does not load .* leave COMPILED off: 1 modules"
        ):
            images.build(["router"], tag="1", compiled=True, environ=machine.environ())
    assert len(machine.calls("build")) == 2


def test_what_is_missing_is_named_beside_the_way_without(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(interpreter: wheels.Interpreter) -> Path:
        raise compiling.CannotCompile("compiling needs a C compiler")

    monkeypatch.setattr(compiled_wheel, "gather", nothing)
    machine.engine("podman")
    with pytest.raises(ImagesUnavailable, match="needs a C compiler; or leave COMPILED off"):
        images.build(["router"], compiled=True, environ=machine.environ())


def test_compiling_is_refused_where_the_router_is_not_among_the_images(machine: Machine) -> None:
    with pytest.raises(ImagesUnavailable, match="only the router's image can be compiled, got operator"):
        images.build(["operator"], compiled=True, environ=machine.environ())


def test_every_image_gets_a_bill_of_what_is_in_it(machine: Machine) -> None:
    machine.engine("podman")
    made = images.build(["router", "prometheus"], tag="7", environ=machine.environ())
    bills = {target: json.loads(image.bill.read_text()) for target, image in made.items()}
    assert bills["router"]["metadata"]["component"]["name"] == "localhost/pdscale/router"
    assert {c["name"] for c in bills["router"]["components"]} >= {"python", "libc6"}
    assert any(c["name"] == "github.com/prometheus/prometheus" for c in bills["prometheus"]["components"])


def test_an_archive_is_written_once_for_an_image(machine: Machine, tmp_path: Path) -> None:
    machine.engine("podman")
    for _ in range(2):
        made = images.build(["router"], save=tmp_path / "out", environ=machine.environ())
        assert made["router"].archive == tmp_path / "out" / "router.tar"
    assert len(machine.calls("save")) == 1


@pytest.mark.parametrize(("engine", "flags"), [("docker", 0), ("podman", 1)])
def test_several_images_are_one_archive_written_once(
    machine: Machine, tmp_path: Path, engine: str, flags: int
) -> None:
    machine.engine(engine)
    both = ("operator", "router")
    for _ in range(2):
        made = images.build(both, tag="7", environ=machine.environ())
        bundle = images.bundle(made, both, tmp_path / "out" / "both.tar", machine.environ())
    assert bundle.read_text() == "localhost/pdscale/operator:7 localhost/pdscale/router:7"
    (call,) = machine.calls("save")
    assert call.count("--multi-image-archive") == flags


def test_an_image_of_unchanged_parts_is_built_once(machine: Machine) -> None:
    machine.engine("podman")
    for _ in range(2):
        images.build(["router"], environ=machine.environ())
    assert len(machine.calls("build")) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda m: (m.folder / "Dockerfile").write_text("FROM other"), id="the Dockerfile"),
        pytest.param(lambda m: m.put("e2e/pdscale_e2e/new.py"), id="the test bed"),
        pytest.param(lambda m: m.put("build/wheels/router/new.whl"), id="a wheel"),
        pytest.param(lambda m: m.put("build/images/prometheus/prometheus"), id="Prometheus"),
        pytest.param(lambda m: m.engine("podman", identity="sha256:other"), id="the image itself"),
    ],
)
def test_an_image_is_built_again_when_a_part_has_changed(
    machine: Machine, change: Callable[[Machine], None]
) -> None:
    machine.engine("podman")
    images.build(["router"], environ=machine.environ())
    change(machine)
    images.build(["router"], environ=machine.environ())
    assert len(machine.calls("build")) == 2


def test_an_archive_under_another_tag_is_written_anew(machine: Machine, tmp_path: Path) -> None:
    machine.engine("podman")
    for tag in ("1", "2"):
        images.build(["router"], tag=tag, save=tmp_path / "out", environ=machine.environ())
    assert (tmp_path / "out" / "router.tar").read_text() == "localhost/pdscale/router:2"


def test_an_unknown_target_is_refused_before_anything_runs(machine: Machine) -> None:
    with pytest.raises(ImagesUnavailable, match="got 'nope'"):
        images.build(["nope"], environ=machine.environ())


def test_a_failed_build_says_which_image_and_why(tmp_path: Path) -> None:
    command = tmp_path / "engine"
    command.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 3\n")
    command.chmod(0o755)
    with pytest.raises(ImagesUnavailable, match=r"(?s)x/router:1 could not be built.*no space left"):
        Containers(str(command)).build("router", "x/router:1", folder=tmp_path, arguments={})


@pytest.mark.parametrize("packed", [False, True], ids=["plain layers", "layers kept compressed"])
def test_layers_are_weighed_compressed(tmp_path: Path, packed: bool) -> None:
    content = b"a" * 100_000
    layer = gzip.compress(content) if packed else content
    files = {"base.tar": b"b", "ours.tar": layer}
    files["manifest.json"] = json.dumps([{"Layers": ["base.tar", "ours.tar"]}]).encode()
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for name, written in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(written)
            archive.addfile(member, io.BytesIO(written))
    sizes = compressed(tmp_path / "image.tar", ("sha256:base", "sha256:ours"), {"sha256:ours"})
    assert list(sizes) == ["sha256:ours"]
    assert 100 < sizes["sha256:ours"] < 1000
