"""The wheel of our own package with compiled modules in it, for the router's image.

It is the plain wheel and what ``compiling`` made of the same sources, under a name that says for which Python
and machine: ``pdscale-0.1.0-cp311-cp311-linux_x86_64.whl``. The tag is not ``manylinux``: that would promise
more than was looked at, and the wheel goes nowhere but into an image.
"""

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pdscale_e2e import compiling, wheels
from pdscale_e2e.compiling import CannotCompile
from pdscale_e2e.wheels import Interpreter

NAME: Final = "pdscale-compiled"
_TIME: Final = (2020, 1, 1, 0, 0, 0)  # the same content gives the same wheel, byte for byte


def gather(image: Interpreter) -> Path:
    """A folder with the wheel. Raises ``CannotCompile`` if this machine cannot make it for that image."""
    compiling.fits(image)
    folder = compiling.compiled()
    (plain,) = wheels.own_package().glob("*.whl")
    made = {str(path.relative_to(folder)): path.read_bytes() for path in compiling.libraries(folder)}
    content = hashlib.sha256(plain.read_bytes() + b"".join(made.values()))
    key = f"{content.hexdigest()} {tag(image)}"
    return wheels.kept(NAME, key, lambda fresh: _into(fresh, plain, made, image))


def tag(python: Interpreter) -> str:
    """What the wheel runs with: Python, its ABI, platform."""
    short = f"cp{python.version.replace('.', '')}"
    return f"{short}-{short}-linux_{python.machine}"


def _into(folder: Path, plain: Path, made: Mapping[str, bytes], python: Interpreter) -> None:
    folder.mkdir()
    write(folder, plain, made, tag(python))


def write(folder: Path, plain: Path, made: Mapping[str, bytes], tag: str) -> Path:
    """``plain``, a pure wheel, with the files of ``made`` added; by binary distribution format 1.0."""
    name, version, *rest = plain.name.split("-")
    if rest != ["py3", "none", "any.whl"]:
        raise CannotCompile(f"the wheel to add to must be a pure one, got {plain.name}")
    with zipfile.ZipFile(plain) as wheel:
        content = {each: wheel.read(each) for each in wheel.namelist() if not each.endswith("/")}
    known = f"{name}-{version}.dist-info"
    said = content[f"{known}/WHEEL"].decode()
    said = re.sub(r"(?m)^Root-Is-Purelib: .*$", "Root-Is-Purelib: false", said)
    content[f"{known}/WHEEL"] = re.sub(r"(?m)^Tag: .*$", f"Tag: {tag}", said).encode()
    content |= made
    record = f"{known}/RECORD"
    content.pop(record)
    lines = [_line(each, content[each]) for each in sorted(content)]
    content[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    return _written(folder / f"{name}-{version}-{tag}.whl", content)


def _line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def _written(wheel: Path, content: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o644 << 16
            file.writestr(entry, content[name], zipfile.ZIP_DEFLATED)
    return wheel
