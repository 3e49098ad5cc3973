"""All placement policies under the same sessions, on real processes: emulated engines, sidecars, a front.

``python -m benchmarks.policies --trace PATH`` replays excerpts of a multi-round trace as a closed loop: a
session's next round comes its recorded wait after the answer ended. Without a trace it says so and draws
sessions from published figures. How to read the table: ``docs/policies.md``.
"""
