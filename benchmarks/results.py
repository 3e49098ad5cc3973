"""``docs/results.md`` from what the benchmarks last wrote; rows that miss their goal stay in."""

import json
from pathlib import Path

from benchmarks.questions.frame import shown
from benchmarks.rows import FOLDER

PAGE = Path("docs/results.md")
HEAD = """# Results

Written by `make bench` from `build/bench/*.json`; do not edit. Figures are from one run on a
shared two-core machine: compare rows with one another, not with another machine. A row marked **NO** misses
its goal.
"""


def page() -> str:
    parts = [HEAD]
    for path in sorted(FOLDER.glob("*.json")):
        lines = [
            f"## {path.stem}",
            "",
            "| metric | value | unit | goal | ok | config |",
            "| --- | --: | --- | --- | --- | --- |",
        ]
        for row in json.loads(path.read_text()):
            verdict = {None: "", True: "yes", False: "**NO**"}[row["ok"]]
            cells = (
                row["metric"],
                f"{row['value']:.4g}",
                row["unit"],
                row["goal"] or "",
                verdict,
                row["config"],
            )
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines) + "\n")
        table = path.with_suffix(".md")  # a benchmark's own table, where rows alone would be hard to read
        if table.exists():
            parts.append(table.read_text())
    return "\n".join([*parts, shown()])


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
