"""The two recorded workloads that placement is judged on, and engines and limits for them.

Conversations: the second half hour of Mooncake's trace; the first is for those who tune rules. Agents: coding
sessions as recorded, with waits cut to a minute and sessions to their first 30 rounds, since recorded waits
last up to a day and a run shall see many sessions through; agents' helpers, whose start is only derived, are
left out. Lengths are scaled down until 98 % of the rounds fit the model. Engines are Llama-3.1-8B on H200 by
its grid; policies know the fit to it.

Limits are the headroom study's: 25 ms a token, and for the first one 1 s or three times an idle prefill.
Rules know the 1 s only.
"""

import csv
import gzip
from functools import cache
from pathlib import Path
from typing import Any, Final

from benchmarks.questions.frame import FOLDER, Given
from pdscale.scenarios.settings import Settings

CONVERSATION: Final = "conversation"
AGENTS: Final = "agents"
WORKLOADS: Final = (CONVERSATION, AGENTS)
FLEETS: Final = {CONVERSATION: (5, 3), AGENTS: (2, 6)}  # the headroom study's best for most rules
POOL: Final = 100_000_000  # tokens: more than all sessions have
LOADS: Final = {CONVERSATION: (0.25, 8.0), AGENTS: (0.25, 8.0)}
_LONGEST_WAIT: Final = 60.0
_MOST_ROUNDS: Final = 30
_SESSIONS_PER_SECOND: Final = 0.15
_LIMITS: Final = {"ttft": "1s", "ttft_stretch": "3", "tpot": "25ms"}


def settings_of(given: Given, workload: str, **more: str) -> Settings:
    prefill, decode = FLEETS[workload]
    flags: dict[str, Any] = {
        "profile": str(given.profiles / "grid_llama31_8b_h200_tp1.csv.gz"),
        "prefill": str(prefill),
        "decode": str(decode),
        "bandwidth": "25GB/s",
        "kv_pool": str(POOL),
        "thin": "0.9",
        **_LIMITS,
    }
    if workload == CONVERSATION:
        flags |= {"trace": str(given.traces / "mooncake_conversation.csv.gz"), "spread": "3s"}
        flags |= {"excerpt": "40m..59m" if given.quick else "30m..59m"}
    else:
        flags |= {"trace": str(trimmed(given.traces / "agentic_coding.csv.gz")), "warm_up": "60s"}
        flags |= {"rate": str(_SESSIONS_PER_SECOND), "context": "120000", "fits": "0.98"}
        flags |= {"excerpt": "0s..20m"} if given.quick else {}
    return given.settings(**(flags | more))


@cache
def trimmed(source: Path, folder: Path = FOLDER / "traces") -> Path:
    """The recorded sessions with shorter waits and fewer rounds, written once a process."""
    folder.mkdir(parents=True, exist_ok=True)
    path, rounds = folder / source.name, dict[str, int]()
    with gzip.open(source, "rt", newline="") as lines, gzip.open(path, "wt", newline="") as out:
        reader = csv.DictReader(lines)
        writer = csv.DictWriter(out, reader.fieldnames or ())
        writer.writeheader()
        for row in reader:
            session = row["session_id"]
            rounds[session] = rounds.get(session, 0) + 1
            if row["parent_session_id"] or rounds[session] > _MOST_ROUNDS:
                continue
            for wait in ("think_s", "tool_wait_s"):
                row[wait] = row[wait] and f"{min(float(row[wait]), _LONGEST_WAIT):g}"
            writer.writerow(row)
    return path
