"""Dashboards drawn without Grafana: what a range query answers becomes curves, and curves a picture."""

from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from pdscale_e2e.pictures.drawing import BAD, GOOD, NOTHING, drawn, png
from pdscale_e2e.pictures.panels import Curve, Shown, Window, curves

DOCS: Final = Path(__file__).parents[2] / "docs"
MOST_BYTES: Final = 200_000  # of a picture: a page of the documentation holds four


def test_a_series_is_named_by_its_legend_and_its_labels() -> None:
    result = [
        {"metric": {"role": role, "other": "x"}, "values": [[100.0, "1"], [101.0, "2.5"]]}
        for role in ("prefill", "decode")
    ]
    assert curves(result, "{{role}} {{missing}}", start=100.0) == [
        Curve("decode", ((0.0, 1.0), (1.0, 2.5))),
        Curve("prefill", ((0.0, 1.0), (1.0, 2.5))),
    ]


def test_what_is_not_a_number_is_a_gap_and_a_series_of_gaps_is_none() -> None:
    values = [[100.0, "NaN"], [101.0, "3"], [102.0, "+Inf"]]
    assert curves([{"metric": {}, "values": values}], "x", start=100.0) == [Curve("x", ((1.0, 3.0),))]
    assert curves([{"metric": {}, "values": [[100.0, "NaN"]]}], "x", start=100.0) == []


def test_a_window_is_asked_for_in_steps_of_a_second_or_more() -> None:
    assert Window(0.0, 60.0).step == 1.0
    assert Window(0.0, 3600.0).step == 15.0


def test_a_picture_has_every_panel_its_legends_and_says_where_nothing_is_known() -> None:
    curve = Curve("ready & able", ((0.0, 1.0), (60.0, 0.5)))
    panels = [
        Shown("Share", "timeseries", "percentunit", (curve,)),
        Shown(
            "Conditions", "state-timeline", "short", (Curve("Ready", ((0.0, 1.0), (30.0, 0.0), (60.0, 0.0))),)
        ),
        Shown("Silence", "timeseries", "s", ()),
        Shown("Fourth", "timeseries", "short", (curve,)),
    ]
    figure = drawn("pdscale / Test", panels)
    assert figure.get_suptitle() == "pdscale / Test"
    seen = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in seen] == [panel.title for panel in panels]
    assert [[text.get_text() for text in axes.texts] for axes in seen] == [[], [], [NOTHING], []]
    assert legend(seen[0]) == ["ready & able"]
    assert [label.get_text() for label in seen[1].get_yticklabels()] == ["Ready"]
    held, did_not = seen[1].collections
    assert (to_hex(held.get_facecolor()[0]), to_hex(did_not.get_facecolor()[0])) == (GOOD, BAD)
    assert seen[0].yaxis.get_major_formatter()(0.5, 0) == "50%"


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_the_same_figures_give_the_same_small_file() -> None:
    curves = tuple(Curve(f"replica {i}", tuple((x, i + x % 7) for x in range(240))) for i in range(6))
    panels = [Shown(f"Panel {i}", "timeseries", "short", curves) for i in range(12)]
    picture = png(drawn("pdscale / Test", panels))
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < MOST_BYTES
    assert png(drawn("pdscale / Test", panels)) == picture


def test_pictures_of_the_documentation_are_small_and_shown() -> None:
    pages = "".join(page.read_text() for page in DOCS.glob("*.md"))
    pictures = sorted((DOCS / "pictures").iterdir())
    assert pictures
    assert [p.name for p in pictures if f"(pictures/{p.name})" not in pages] == []
    assert {p.name: size for p in pictures if (size := p.stat().st_size) > MOST_BYTES} == {}
