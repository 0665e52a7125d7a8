"""Draws plots with matplotlib as SVG inside a page: readable without scripts, in light and dark, and by screen readers.

Text takes the colour and font of the page. A drawing is the same for the same data, and small: what a browser does
not need is taken out.
"""

import io
import logging
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from jobs.pages.page import render_fragment
from jobs.pages.run_history import ENDED_BADLY, RunSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT_COLOUR, LINE_COLOUR = "#010203", "#010204"
"""Stand for the page's colours of text and of lines: matplotlib knows no variables."""

MAIN_COLOUR, BAD_COLOUR = "#0072b2", "#d55e00"
"""Blue and vermilion of Okabe and Ito: distinct for colour-blind readers, visible on white and on black."""

DOTS_PER_INCH = 72
FONT_SIZE = 11
SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"

_RC: Any = {
    "svg.fonttype": "none", "font.size": FONT_SIZE, "text.color": TEXT_COLOUR, "axes.labelcolor": TEXT_COLOUR,
    "axes.edgecolor": LINE_COLOUR, "xtick.color": LINE_COLOUR, "ytick.color": LINE_COLOUR,
    "xtick.labelcolor": TEXT_COLOUR, "ytick.labelcolor": TEXT_COLOUR, "grid.color": LINE_COLOUR,
    "axes.spines.top": False, "axes.spines.right": False, "lines.linewidth": 1.5, "path.simplify": True,
    "axes.unicode_minus": False, "text.parse_math": False,
}  # fmt: skip

SHORTENED = {"x", "y", "d", "style", "transform"}
"""Attributes with coordinates."""

DROPPED = {f"{{{SVG}}}{tag}" for tag in ("metadata", "style")}
EMPTY_GROUPS = {f"{{{SVG}}}{tag}" for tag in ("defs", "g")}
"""Elements that matter only with something in them."""

WITH_TEXT = {f"{{{SVG}}}{tag}" for tag in ("text", "title")}

_PREAMBLE = re.compile(r"<\?xml.*?<svg", re.DOTALL)
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_FAMILY = re.compile(r"font-family:[^;]*;?\s*")
_FONT = re.compile(r"font: ([\d.]+px)[^;]*")


@dataclass(frozen=True)
class Trend:
    """One number of each run.

    Attributes:
        name: file-safe name, unique in the page.
        title: heading of the plot, with the unit.
        values: number of each run; None where it has none.
        form: writes a number for readers.
    """

    name: str
    title: str
    values: Sequence[float | None]
    form: Callable[[float], str]


def render_svg(
    draw: Callable[["Figure"], None],
    *,
    name: str,
    title: str,
    size: tuple[float, float],
    hover: Mapping[str, Sequence[str]] | None = None,
) -> Markup:
    """Return a drawing as an ``<svg>`` element.

    Args:
        draw: draws on an empty figure; texts from data belong into ``hover`` or the page.
        name: prefix of all ids in the drawing, unique in the page.
        title: what the drawing shows, for screen readers.
        size: width and height in CSS pixels; the page makes it smaller where there is less room.
        hover: texts of the points, by the group id (``gid``) of a matplotlib collection, in the order of its points.
    """
    import matplotlib as mpl  # noqa: PLC0415  (half a second to import)
    from matplotlib.figure import Figure  # noqa: PLC0415

    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # the first drawing on a machine lists its fonts
    with mpl.rc_context({**_RC, "svg.hashsalt": name}):
        width, height = size
        inches = width / DOTS_PER_INCH, height / DOTS_PER_INCH
        figure = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout="constrained")
        draw(figure)
        target = io.StringIO()
        empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(target, format="svg", transparent=True, metadata=empty)
    root = ET.fromstring(_PREAMBLE.sub("<svg", target.getvalue(), count=1))  # noqa: S314  (matplotlib's own output)
    _add_hover_texts(root, hover or {})
    _prune(root)
    _rename_ids(root, name)
    root.attrib.update({"role": "img", "aria-label": title, "class": "plot"})
    root.attrib.update({"width": str(width), "height": str(height)})
    root.attrib["style"] = "stroke-linejoin: round"  # of matplotlib's style element, which would reach the whole page
    root.attrib.pop("version", None)
    ET.register_namespace("", SVG)
    text = ET.tostring(root, encoding="unicode", short_empty_elements=True)
    text = text.replace(TEXT_COLOUR, "currentColor").replace(LINE_COLOUR, "var(--plot-line)")
    return Markup(text)  # noqa: S704  (an element tree is written with its texts escaped)


def draw_trends(history: Sequence[RunSummary]) -> Markup:
    """Return plots of the last runs: rows, refusals, seconds, and neighbours that moved.

    Args:
        history: runs, the oldest first (`jobs.pages.run_history.read_history`).
    """
    trends = _list_trends(history)
    plots = [_draw_trend(trend, history) for trend in trends] if len(history) > 1 else []
    table = [
        (run, [trend.form(value) if value is not None else "–" for trend in trends for value in [trend.values[row]]])
        for row, run in enumerate(history)
    ]
    return render_fragment("_trends.html.j2", plots=plots, trends=trends, table=table[::-1])


def _list_trends(history: Sequence[RunSummary]) -> list[Trend]:
    def write_count(value: float) -> str:
        return f"{value:,.0f}"

    stayed = [run.details.get("neighbours_stayed") for run in history]
    return [
        Trend("rows", "Rows delivered", [run.counts.get("delivered") for run in history], write_count),
        Trend("refused", "Rows refused", [run.counts.get("quarantined") for run in history], write_count),
        Trend(
            "seconds", "Seconds", [sum(run.seconds.values()) if run.seconds else None for run in history], write_count
        ),
        Trend(
            "churn",
            "Neighbours that moved, in percent",
            [100 * (1 - float(share)) if share else None for share in stayed],
            lambda value: f"{value:.1f}",
        ),
    ]


def _draw_trend(trend: Trend, history: Sequence[RunSummary]) -> Markup:
    known = [(place, value) for place, value in enumerate(trend.values) if value is not None]
    if not known:
        return Markup("")
    bad = [one for one in known if history[one[0]].outcome in ENDED_BADLY]
    good = [one for one in known if one not in bad]

    def tell(points: Sequence[tuple[int, float]]) -> list[str]:
        return [f"{history[place].date}: {trend.form(value)} ({history[place].outcome})" for place, value in points]

    def draw(figure: "Figure") -> None:
        axes: Axes = figure.subplots()
        axes.plot([x for x, _ in known], [y for _, y in known], color=MAIN_COLOUR, zorder=1)
        for points, marker, colour, name in ((good, "o", MAIN_COLOUR, "good"), (bad, "x", BAD_COLOUR, "bad")):
            if points:
                x, y = [place for place, _ in points], [value for _, value in points]
                axes.scatter(x, y, s=22, marker=marker, color=colour, gid=name, zorder=2)
        _style_trend(axes, trend, history)

    start, end = known[0], known[-1]
    title = (
        f"{trend.title} of {len(history)} runs: {trend.form(start[1])} on {history[start[0]].date}, "
        f"{trend.form(end[1])} on {history[end[0]].date}"
    )
    hover = {"good": tell(good), "bad": tell(bad)}
    return render_svg(draw, name=f"trend-{trend.name}", title=title, size=(340, 170), hover=hover)


def _style_trend(axes: "Axes", trend: Trend, history: Sequence[RunSummary]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator  # noqa: PLC0415

    axes.set_title(trend.title, loc="left", fontsize=FONT_SIZE + 1)
    axes.set_ylim(bottom=0)
    axes.set_xlim(-0.5, max(len(history) - 0.5, 1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=trend.name != "churn"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(axis="y", linewidth=0.5)
    axes.tick_params(length=0)
    ends = sorted({0, len(history) - 1})
    axes.set_xticks(ends, [history[place].date for place in ends])
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("left")
    axes.get_xticklabels()[-1].set_horizontalalignment("right")


def _add_hover_texts(root: ET.Element, hover: Mapping[str, Sequence[str]]) -> None:
    """Give each point of the named groups its text, which browsers show when the pointer is on it."""
    groups = {group.get("id"): group for group in root.iter(f"{{{SVG}}}g")}
    for name, texts in hover.items():
        group = groups.get(name)
        points = list(group.iter(f"{{{SVG}}}use")) if group is not None else []
        for point, text in zip(points, texts, strict=True):
            ET.SubElement(point, f"{{{SVG}}}title").text = text


def _prune(element: ET.Element) -> None:
    """Take out what a browser does not need, and shorten numbers to a tenth of a pixel."""
    for child in list(element):
        _prune(child)
        is_empty = child.tag in EMPTY_GROUPS and not len(child)
        if is_empty or child.tag in DROPPED:
            element.remove(child)
    element.tail = None
    if element.tag not in WITH_TEXT:
        element.text = None
    for key in SHORTENED & element.attrib.keys():
        value = " ".join(element.attrib[key].split())
        element.attrib[key] = _NUMBER.sub(lambda found: f"{float(found[0]):.1f}", value)
    if "style" in element.attrib:
        element.attrib["style"] = _FAMILY.sub("", _FONT.sub(r"font-size: \1", element.attrib["style"]))
    if element.attrib.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]


def _rename_ids(root: ET.Element, name: str) -> None:
    """Put the name before each id that is used, and remove the others, so that plots of one page do not mix."""
    text = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r"(?:url\(|href=\")#([^\")]+)", text))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.attrib["id"] = f"{name}-{own}"
        if LINK in element.attrib:
            element.attrib["href"] = f"#{name}-{element.attrib.pop(LINK)[1:]}"
        for key in ("clip-path", "style"):
            if "url(#" in element.attrib.get(key, ""):
                element.attrib[key] = element.attrib[key].replace("url(#", f"url(#{name}-")
