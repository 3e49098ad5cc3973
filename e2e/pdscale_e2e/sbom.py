"""What is in an image, as a software bill of materials: CycloneDX 1.6, JSON.

Read from what the image is made of: the wheels that its stages install (name, version, licence, SHA-256 of
the wheel), and the base image's own packages, as its dpkg tells. The same parts give the same file, byte for
byte: there is no time and no random number in it. Where a base has no dpkg, its packages are said to be
incomplete.
"""

import hashlib
import json
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, Final

from pdscale_e2e.wheels import OWN

Json = dict[str, Any]

# Folders of wheels that reach each image, in the Dockerfile's words; a test holds both together.
FOLDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "router": ("router", OWN),
    "emulator": ("router", OWN),
    "operator": ("operator", OWN),
    "e2e": ("router", OWN),
    "gpu-plugin": ("router", "gpu-plugin", OWN),
    "endpoint-picker": ("router", "endpoint-picker", OWN),
    "prometheus": (),
}
PROBE: Final = """
import json, pathlib, platform
fields = ("Package", "Version", "Architecture")
status = pathlib.Path("/var/lib/dpkg/status")  # dpkg
found = []
for paragraph in status.read_text().split("\\n\\n") if status.exists() else ():
    said = dict(line.split(": ", 1) for line in paragraph.splitlines() if line[:1].isalpha() and ": " in line)
    if said.get("Status", "").endswith(" installed"):
        found.append([said[field] for field in fields])
released = pathlib.Path("/etc/os-release")
lines = released.read_text().splitlines() if released.exists() else ()
system = dict(line.split("=", 1) for line in lines if "=" in line).get("ID", "linux").strip('"')
print(json.dumps({"python": platform.python_version(), "system": system, "packages": sorted(found)}))
"""
_NAMED: Final = re.compile(r"[A-Za-z0-9._-]+")
_REQUIRED: Final = re.compile(r"^\s+(?P<name>\S+) (?P<version>v\S+)(?: // indirect)?$", re.M)


@dataclass(frozen=True, slots=True)
class Base:
    """The base image: its name, its Python, its packages as (name, version, architecture)."""

    reference: str
    python: str
    system: str
    packages: tuple[tuple[str, str, str], ...]

    @classmethod
    def parse(cls, reference: str, printed: str) -> "Base":
        """From what ``PROBE`` prints."""
        told = json.loads(printed)
        packages = tuple((name, version, kind) for name, version, kind in told["packages"])
        return cls(reference, told["python"], told["system"], packages)

    def components(self) -> Iterator[Json]:
        purl = f"pkg:generic/python@{self.python}"
        yield {"type": "platform", "bom-ref": purl, "name": "python", "version": self.python, "purl": purl}
        for name, version, kind in self.packages:
            purl = f"pkg:deb/{self.system}/{name}@{_quoted(version)}?arch={kind}"
            yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def of_wheels(reference: str, folders: Iterable[Path], base: Base) -> Json:
    """The bill of an image of Python programs."""
    wheels = [_Wheel.read(file) for folder in folders for file in sorted(folder.glob("*.whl"))]
    named = {wheel.key: wheel for wheel in wheels}
    needs = {w.purl: [named[n].purl for n in w.needs if n in named] for w in named.values()}
    ours = [wheel.component() for wheel in sorted(named.values(), key=lambda w: w.key)]
    of_the_base = list(base.components())
    complete = "complete" if base.packages else "incomplete"
    return _bom(reference, [*ours, *of_the_base], needs, base=base.reference, aggregate=complete)


def of_modules(reference: str, go_mod: str) -> Json:
    """The bill of an image that holds one Go program and nothing else."""
    components = [
        {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        for name, version in sorted(set(_REQUIRED.findall(go_mod)))
        for purl in (f"pkg:golang/{name}@{_quoted(version)}",)
    ]
    return _bom(reference, components, {}, base="scratch", aggregate="complete")


def text(bom: Json) -> str:
    return json.dumps(bom, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class _Wheel:
    name: str
    version: str
    licence: str
    needs: tuple[str, ...]
    digest: str

    @classmethod
    def read(cls, file: Path) -> "_Wheel":
        with zipfile.ZipFile(file) as wheel:
            (inside,) = (n for n in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
            said = HeaderParser().parsestr(wheel.read(inside).decode())
        wanted = (r for r in said.get_all("Requires-Dist") or () if "extra ==" not in r)
        needs = sorted({_key(found[0]) for r in wanted if (found := _NAMED.match(r))})
        licence = said["License-Expression"] or _short(said["License"]) or ""
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return cls(said["Name"], said["Version"], licence, tuple(needs), digest)

    @property
    def key(self) -> str:
        return _key(self.name)

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{self.key}@{_quoted(self.version)}"

    def component(self) -> Json:
        licences = {"licenses": [{"license": {"name": self.licence}}]} if self.licence else {}
        return {
            "type": "library",
            "bom-ref": self.purl,
            "name": self.name,
            "version": self.version,
            "hashes": [{"alg": "SHA-256", "content": self.digest}],
            **licences,
            "purl": self.purl,
        }


def _bom(
    reference: str,
    components: Sequence[Json],
    needs: Mapping[str, Sequence[str]],
    *,
    base: str,
    aggregate: str,
) -> Json:
    name, _, tag = reference.rpartition(":")
    image = {"type": "container", "bom-ref": reference, "name": name, "version": tag}
    refs = [str(c["bom-ref"]) for c in components]
    content = json.dumps([image, components], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": image, "properties": [{"name": "pdscale:base-image", "value": base}]},
        "components": list(components),
        "dependencies": [
            {"ref": reference, "dependsOn": refs},
            *({"ref": ref, "dependsOn": list(needs.get(ref, ()))} for ref in refs),
        ],
        "compositions": [{"aggregate": aggregate, "assemblies": [reference]}],
    }


def _key(name: str) -> str:
    """As PyPI tells names apart: ``prometheus_client`` is ``prometheus-client``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _short(licence: str | None) -> str | None:
    """Some packages put the whole text there."""
    return licence if licence and len(licence) < 60 and "\n" not in licence else None


def _quoted(version: str) -> str:
    return version.replace("+", "%2B").replace(":", "%3A")
