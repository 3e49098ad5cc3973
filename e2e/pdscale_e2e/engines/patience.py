"""Real engines that leave the cores to others while they have nothing to do, by the plugin ``nixl_patience``.

vLLM finds its plugins by their entry points on Python's path. That path is the working directory for a
command that ends in ``python -m``, and begins with PYTHONPATH for any other, unless the command sets it
itself; so a launcher sets both.
"""

import dataclasses
import shlex
import shutil
from pathlib import Path
from typing import Final

from pdscale_e2e.engines import nixl_patience
from pdscale_e2e.engines.command import Vllm

_PLUGIN: Final = Path(nixl_patience.__file__)
_GROUP: Final = "vllm.general_plugins"


def patient(vllm: Vllm, folder: Path) -> Vllm:
    """The same engine with the plugin; launcher and plugin are written into ``folder``, which must stay."""
    shutil.copy(_PLUGIN, folder)
    described = folder / f"{_PLUGIN.stem}-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {_PLUGIN.stem}\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(f"[{_GROUP}]\n{_PLUGIN.stem} = {_PLUGIN.stem}:install\n")
    launcher = folder / "vllm"
    here, command = shlex.quote(str(folder)), shlex.quote(str(vllm.command.absolute()))
    launcher.write_text(
        f'#!/bin/sh\ncd {here} && PYTHONPATH={here}"${{PYTHONPATH:+:$PYTHONPATH}}" exec {command} "$@"\n'
    )
    launcher.chmod(0o755)
    return dataclasses.replace(vllm, command=launcher)
