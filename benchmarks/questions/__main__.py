"""Ask the simulator and keep what it says: ``build/questions/NAME.json``, from which docs/results.md is made.

Traces and profiles are other people's files and not part of this repository: their folders are arguments,
or PDSCALE_TRACES and PDSCALE_PROFILES. All questions together take some 25 minutes of two cores; ``--quick``
takes a few, and its figures are not for publishing.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.questions.frame import Given, keep, questions, read, section


def main() -> int:
    known = questions()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.questions", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--traces", type=Path, default=_folder("PDSCALE_TRACES"), metavar="DIR")
    parser.add_argument("--profiles", type=Path, default=_folder("PDSCALE_PROFILES"), metavar="DIR")
    parser.add_argument("--only", default=",".join(known), metavar="NAME[,NAME]", help=", ".join(known))
    parser.add_argument("--seeds", default="1,2,3", metavar="N[,N]")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes at a time")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="most workloads drawn at random")
    parser.add_argument("--parts", default="", metavar="NAME[,NAME]", help="only these, where one has parts")
    flags = parser.parse_args()
    for name in ("traces", "profiles"):
        folder = getattr(flags, name)
        if folder is None or not folder.is_dir():
            parser.error(f"--{name}: must be a folder, got {folder}; name one, or set PDSCALE_{name.upper()}")
    asked = flags.only.split(",")
    if unknown := [name for name in asked if name not in known]:
        parser.error(f"--only: must be among {', '.join(known)}, got {', '.join(unknown)}")
    seeds = tuple(int(seed) for seed in flags.seeds.split(","))
    parts = tuple(flags.parts.split(",")) if flags.parts else ()
    given = Given(flags.traces, flags.profiles, seeds, flags.quick, flags.jobs, flags.sample, parts)
    for name in asked:
        _ask(name, given, flags.seeds)
    return 0


def _ask(name: str, given: Given, seeds: str) -> None:
    command = (
        f"python -m benchmarks.questions --traces TRACES --profiles PROFILES --only {name} --seeds {seeds}"
    )
    print(f"asking {name}, seeds {seeds}", file=sys.stderr)
    if given.sample:
        command += f" --sample {given.sample}"
    if given.parts:
        command += f" --parts {','.join(given.parts)}"
    started = time.monotonic()
    answer = questions()[name](given)
    seconds = time.monotonic() - started
    kept_as = "-".join((name, *given.parts))  # parts asked one after the other stand beside one another
    path = keep(kept_as, answer, command=command + (" --quick" if given.quick else ""), seconds=seconds)
    print(section(read(path)))
    print(f"wrote {path} after {seconds:.0f} s", file=sys.stderr)


def _folder(variable: str) -> Path | None:
    said = os.environ.get(variable)
    return Path(said) if said else None


if __name__ == "__main__":
    sys.exit(main())
