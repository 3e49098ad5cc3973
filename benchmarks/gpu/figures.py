"""Rows of the benchmark and the files beside them: fit errors, a few times, bandwidths."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.rows import Row
from pdscale.perf.document import profile_document
from pdscale.perf.engine import Engine
from pdscale.perf.measurements import Measurements, TransferPoint
from pdscale.perf.refit import Errors, Fit, fit_profile, fit_transfer

FOLDER: Final = Path("build/gpu")
_KINDS: Final = ("prefill", "decode", "mixed")

Copies = Mapping[str, Sequence[TransferPoint]]
"""Points per path, such as ``to host``."""


def fitted(points: Measurements, engine: Engine) -> Fit:
    """One seed: what is held out changes what is reported of the profile, not the profile."""
    return fit_profile(points, engine, rng=random.Random(0))


def rows_of(fit: Fit, points: Measurements, copies: Copies, config: str) -> list[Row]:
    """Errors on all points and on those a second fit had not seen, then what was measured of copies."""
    rows = [
        *_errors("fit error", fit.errors, config),
        *_errors("fit error, unseen points", fit.held_out, config),
        Row("prefill points", len(points.prefill), "", config),
        Row("decode points", len(points.decode), "", config),
        Row("mixed points", len(points.mixed), "", config),
    ]
    for path, found in copies.items():
        fixed, bandwidth, error = fit_transfer(found)
        rows += [
            Row(f"KV copy {path}", bandwidth / 1e9, "GB/s", config),
            Row(f"KV copy {path}, fixed", fixed * 1e6, "us", config),
            Row(f"KV copy {path}, fit error median", error.median, "1", config),
        ]
    return rows


def _errors(metric: str, errors: Errors, config: str) -> list[Row]:
    """Mixed passes are in no fit: their errors are those of the rule that combines the other two."""
    found = ((kind, getattr(errors, kind)) for kind in _KINDS)
    return [
        Row(f"{metric}, {kind}, {share}", getattr(error, share), "1", config)
        for kind, error in found
        if error is not None
        for share in ("median", "p90")
    ]


def keep(fit: Fit, points: Measurements, copies: Copies) -> tuple[Path, Path]:
    """``points.json`` and ``profile.json``; the second is what ``--profile`` takes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    measured, profile = FOLDER / "points.json", FOLDER / "profile.json"
    body = asdict(points) | {"copies": {path: [asdict(p) for p in found] for path, found in copies.items()}}
    measured.write_text(json.dumps(body, indent=1) + "\n")
    profile.write_text(json.dumps(profile_document(fit.profile), indent=1, allow_nan=False) + "\n")
    return measured, profile
