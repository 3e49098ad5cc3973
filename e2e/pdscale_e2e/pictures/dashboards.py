"""All three dashboards into a folder."""

from collections.abc import Iterator
from pathlib import Path

from pdscale_e2e.pictures.drawing import drawn, png
from pdscale_e2e.pictures.panels import DASHBOARDS, Source, Window


def draw(source: Source, window: Window, folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(file.stem for file in DASHBOARDS.glob("*.json")):
        path = folder / f"dashboard-{name}.png"
        title = f"pdscale / {name.capitalize()}: {source.namespace}/{source.name}"
        path.write_bytes(png(drawn(title, source.shown(name, window))))
        yield path
