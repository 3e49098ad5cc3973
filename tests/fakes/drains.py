"""A deployment whose replicas tell of themselves, so that one of them can be drained by choice."""

from fakes.kube import PLURAL
from fakes.operator import Bench
from pdscale.kube.marks import COST, DRAINING

OPEN = {"drainTimeout": "30s"}


async def busy(it: Bench, *, decode: int = 3) -> None:
    """A deployment of ``decode`` replicas that tell of themselves; decode-1 has the least to lose."""
    it.create(decode={"minReplicas": decode, "maxReplicas": decode}, router=OPEN)
    await it.tick()
    it.fake.run_pods()
    for number, sessions in enumerate((9, 2, 5, 7, 8)[:decode]):
        tell(it, f"chat-decode-{number}", sessions=sessions, requests=1)
    tell(it, "chat-prefill-0", sessions=0, requests=0)
    await it.tick(after=5)


def tell(it: Bench, pod: str, *, requests: float, sessions: float | None = None) -> None:
    it.source.figures[f"open/{pod}"] = requests
    if sessions is not None:
        it.source.figures[f"sessions/{pod}"] = sessions


def bound(it: Bench, least: int, most: int | None = None) -> None:
    patch = {"spec": {"decode": {"minReplicas": least, "maxReplicas": most or least}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)


def marked(it: Bench) -> dict[str, str]:
    """Pods that drain, and their cost of deletion."""
    pods = (name for plural, _, name in it.fake.store.objects if plural == "pods")
    said = {name: it.fake.get("pods", name)["metadata"].get("annotations") or {} for name in pods}
    return {name: annotations[COST] for name, annotations in said.items() if DRAINING in annotations}
