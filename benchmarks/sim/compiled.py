"""The simulator's engines and the policies that run live compiled by mypyc, beside a copy of the package.

    python -m benchmarks.sim.compiled build/compiled
    PYTHONPATH=build/compiled python -m benchmarks.questions ...

The sources are compiled as they stand and give the same figures to the bit, which ``python -m benchmarks.sim
--compiled build/compiled`` checks; without it all runs as plain Python. Needs a C compiler and some 50 CPU
seconds. The copy does not follow changes of the sources.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pdscale

# All that a round runs through, but for generic classes and slotted dataclasses, which mypyc does not take.
MODULES: Final[Mapping[str, str]] = {
    "sim": "agenda course decode dispatch intake jumps memory mixed network placing pool prefill request "
    "sight streams tally transfers way",
    "placement": "admission ampd baselines binding candidates continuity correction cost exchange "
    "fewest_late freshness identity lengths ordering passes pledged policy prefills session_log shortest "
    "soonest window",
    "perf": "profile",
}
_SETUP: Final = """
from mypyc.build import mypycify
from setuptools import setup

flags = ["--config-file=", "--follow-imports=silent"]
setup(name="compiled", packages=[], ext_modules=mypycify([*flags, *{paths}], opt_level="3", debug_level="0"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="what is there is replaced")
    build(parser.parse_args().folder)


def build(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    source = Path(next(iter(pdscale.__path__)))
    shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    paths = [f"{source.name}/{where}/{name}.py" for where, names in MODULES.items() for name in names.split()]
    (folder / "setup.py").write_text(_SETUP.format(paths=paths), encoding="utf-8")
    subprocess.run([sys.executable, "setup.py", "build_ext", "--inplace"], cwd=folder, check=True)


if __name__ == "__main__":
    main()
