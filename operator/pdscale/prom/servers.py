"""One client per metrics server, however many ServingDeployments name it."""

from collections.abc import Mapping

from pdscale.model.units import Seconds
from pdscale.prom.client import PrometheusHistory


class MetricsServers:
    """Hands out the client of a URL; closes all of them at the end."""

    def __init__(
        self,
        *,
        timeout: Seconds = 5.0,
        headers: Mapping[str, str] | None = None,
        scrape_interval: Seconds = 15.0,
    ) -> None:
        self._timeout = timeout
        self._headers = headers
        self._scrape_interval = scrape_interval
        self._clients: dict[str, PrometheusHistory] = {}

    def at(self, url: str) -> PrometheusHistory:
        key = url.rstrip("/")
        if key not in self._clients:
            self._clients[key] = PrometheusHistory(
                key,
                timeout=self._timeout,
                headers=self._headers,
                scrape_interval=self._scrape_interval,
            )
        return self._clients[key]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
