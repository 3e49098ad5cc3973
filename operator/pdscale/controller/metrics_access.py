"""How an object's metrics server is reached, its credentials taken out of the Secrets that the object names.

They are read anew at each tick: a token that was renewed works at once, one that was withdrawn stops
working. Whoever may create the object may also give its pods any Secret of the namespace, so that naming one
here gives nobody more than they had.
"""

import base64
import binascii
from typing import Final

from pdscale.api.v1alpha1 import Prometheus, SecretKey
from pdscale.kube.client import Kube, collection
from pdscale.kube.errors import Forbidden, NotFound
from pdscale.model.units import parse_duration
from pdscale.model.workload import NoData
from pdscale.prom.access import Access, Basic, Bearer, Tls

_WHERE: Final = "spec.prometheus"
NOWHERE: Final = NoData(
    f"{_WHERE}.url is not set and the operator has no default; name your metrics server there, or for all "
    "objects in the chart's prometheus.url"
)


class _Lacking(Exception):
    """A value that the object names is not to be had."""


async def access_of(kube: Kube, namespace: str, wanted: Prometheus, *, url: str | None) -> Access | NoData:
    """``url`` is that of ``wanted``, or a default. No data, with the field and the next step, where something
    is missing or cannot be meant.
    """
    if url is None:
        return NOWHERE
    secrets = _Secrets(kube, namespace)
    try:
        return Access(
            url,
            credentials=await _credentials(secrets, wanted),
            tls=await _tls(secrets, wanted),
            timeout=parse_duration(wanted.timeout),
        )
    except _Lacking as error:
        return NoData(f"{url}: {error}")
    except ValueError as error:
        return NoData(f"{url}: {_WHERE}: {error}")


def overrides(wanted: Prometheus) -> dict[str, str]:
    """The queries that the object replaces, by measure."""
    return {name: query for name, query in wanted.queries.model_dump().items() if query is not None}


class _Secrets:
    """Texts by field and key; a Secret that two fields name is read once."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube, self._namespace = kube, namespace
        self._read: dict[str, dict[str, str]] = {}

    async def text(self, field: str, source: SecretKey) -> str:
        where = f"{_WHERE}.{field}: Secret {source.name} in {self._namespace}"
        if source.name not in self._read:
            self._read[source.name] = await self._fetch(source.name, where)
        found = self._read[source.name].get(source.key)
        if found is None:
            raise _Lacking(f"{where} has no key {source.key}")
        try:
            return base64.b64decode(found, validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _Lacking(f"{where}, key {source.key}, is no text") from error

    async def _fetch(self, name: str, where: str) -> dict[str, str]:
        try:
            secret = await self._kube.get(collection("v1", "secrets", self._namespace, name))
        except NotFound as error:
            raise _Lacking(f"{where} does not exist; create it") from error
        except Forbidden as error:
            raise _Lacking(f"{where} may not be read; grant the operator get on secrets") from error
        return dict(secret.get("data") or {})


async def _credentials(secrets: _Secrets, wanted: Prometheus) -> Bearer | Basic | None:
    auth = wanted.auth
    if auth is None:
        return None
    if auth.bearer_token is not None:
        return Bearer(await secrets.text("auth.bearerToken", auth.bearer_token))
    assert auth.basic is not None  # the object's rules say so
    return Basic(
        await secrets.text("auth.basic.username", auth.basic.username),
        await secrets.text("auth.basic.password", auth.basic.password),
    )


async def _tls(secrets: _Secrets, wanted: Prometheus) -> Tls | None:
    if wanted.tls is None:
        return None
    texts = {}
    for name, source in (("ca", wanted.tls.ca), ("cert", wanted.tls.cert), ("key", wanted.tls.key)):
        texts[name] = None if source is None else await secrets.text(f"tls.{name}", source)
    return Tls(ca=texts["ca"], certificate=texts["cert"], key=texts["key"])
