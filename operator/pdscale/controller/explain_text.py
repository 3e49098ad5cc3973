"""An explanation as text: one part a line, for people who look at a terminal."""

from collections.abc import Iterator

from pdscale.controller.explain import Json
from pdscale.model.pools import Role

WIDTH = 13


def text(parts: Json) -> str:
    return "\n".join(_lines(parts)) + "\n"


def _lines(parts: Json) -> Iterator[str]:
    yield f"{parts['namespace']}/{parts['name']}, scaling.mode {parts['mode']}"
    yield from _part("replicas", _replicas(parts))
    yield from _part("traffic", _traffic(parts))
    yield from _part("forecast", _forecast(parts))
    yield from _part("one replica", _capacity(parts))
    yield from _part("profile", _profile(parts))
    yield from _part("need", _need(parts))
    yield from _listed("candidates", [_candidate(c) for c in parts.get("candidates", ())])
    if plan := parts.get("plan"):
        since = f" since {plan['time']}" if plan.get("time") else ""
        yield from _part("plan", f"{plan['prefill']}P+{plan['decode']}D{since}")
        yield from _listed("steps", [_step(s) for s in plan.get("trail", ())])
    yield from _part("binding", parts.get("binding", ""))
    if proposal := parts.get("proposal"):
        state = "approved" if proposal["approved"] else f"waits until {proposal['expires']}"
        pair = f"{proposal['prefill']}P+{proposal['decode']}D"
        yield from _part("proposal", f"{proposal['id']}: {pair}, {state}")
    yield from _part("KV kept", _kept(parts))
    yield from _listed("lately", [_change(c) for c in parts.get("history", ())])
    yield from _listed("concerns", parts.get("concerns", []))
    yield from _listed("would change", parts.get("wouldChange", []))


def _part(name: str, what: str) -> Iterator[str]:
    if what:
        yield f"  {name:<{WIDTH}}{what}"


def _listed(name: str, items: list[str]) -> Iterator[str]:
    for i, item in enumerate(items):
        yield f"  {name if i == 0 else '':<{WIDTH}}{item}"


def _replicas(parts: Json) -> str:
    found = parts.get("replicas", {})
    pools = [f"{role} {found[role].get('summary', '?')} ready" for role in Role if role in found]
    if gpus := parts.get("gpus"):
        pools.append(f"{gpus.get('held', '?')} of {gpus.get('budget', '?')} GPUs held")
    return ", ".join(pools)


def _traffic(parts: Json) -> str:
    seen = parts.get("traffic")
    if not seen:
        return ""
    tokens = f"{seen['contextTokens']:g} tokens of prompt, {seen['uncachedTokens']:g} of them new"
    share = f"{seen['localShare']:.0%} of the new ones computed by decode replicas"
    return f"{seen['requestRate']:g} rounds/s sized for, {tokens}, {seen['outputTokens']:g} out; {share}"


def _forecast(parts: Json) -> str:
    seen = parts.get("forecast")
    if not seen:
        return ""
    held = f"; {seen['coverage']:.0%} of its past forecasts held" if "coverage" in seen else ""
    ahead = f"q{seen['quantile'] * 100:g} in {seen['horizon']}"
    return f"{ahead}: {seen['requestRate']:g} rounds/s by {seen['model']}{held}"


def _capacity(parts: Json) -> str:
    seen = parts.get("demand", {})
    figures = ((r, seen[r].get("requestRate"), seen[r]["limit"]) for r in Role if r in seen)
    return ", ".join(f"{r} {'any' if n is None else f'{n:g}'} rounds/s ({limit})" for r, n, limit in figures)


def _profile(parts: Json) -> str:
    seen = parts.get("profile")
    if not seen:
        return ""
    times = f"{seen['prefillFactor']:g}x its prefills, {seen['decodeFactor']:g}x its decode steps"
    return f"engines take {times}"


def _need(parts: Json) -> str:
    seen = parts.get("demand", {})
    figures = ((r, seen[r].get("replicas")) for r in Role if r in seen)
    return ", ".join(f"{r} {'beyond any number' if n is None else f'{n:g}'}" for r, n in figures)


def _kept(parts: Json) -> str:
    seen = parts.get("kvBlocksTtl")
    if not seen:
        return ""
    observed = seen.get("observed")
    pauses = f"95 % of pauses end within {observed}" if observed else "pauses are not known"
    return f"{seen['inForce']} for a session's next round; {pauses}"


def _candidate(c: Json) -> str:
    pair = f"{c['prefill']}P+{c['decode']}D"
    return f"{pair:<9}{c['gpus']:>4} GPUs {c['share']:>5.0%}  {c['verdict']}"


def _step(step: Json) -> str:
    note = f" ({step['note']})" if step.get("note") else ""
    return f"{step['reason']} {step['prefill']}P+{step['decode']}D{note}"


def _change(change: Json) -> str:
    why = ", ".join(change["reasons"])
    return f"{change['time']} prefill {change['prefill']}, decode {change['decode']}: {why}"
