"""``python -m pdscale_e2e.pictures``: the dashboards as PNG files, from a Prometheus that scrapes pdscale."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from pdscale_e2e.pictures.dashboards import draw
from pdscale_e2e.pictures.panels import Source, Window


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m pdscale_e2e.pictures", description=__doc__)
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--namespace", required=True, help="of the ServingDeployment")
    parser.add_argument("--name", required=True, help="of the ServingDeployment")
    parser.add_argument("--seconds", type=float, default=10800, help="up to now (default: %(default)g)")
    parser.add_argument(
        "--rate-interval", default="1m", metavar="DURATION", help="of rates (default: %(default)s)"
    )
    parser.add_argument("--into", type=Path, default=Path("build/pictures"), metavar="FOLDER")
    given = parser.parse_args(argv)
    now = time.time()
    window = Window(now - given.seconds, now, given.rate_interval)
    for path in draw(Source(given.prometheus, given.namespace, given.name), window, given.into):
        print(path)


if __name__ == "__main__":
    main()
