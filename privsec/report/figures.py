"""Pictures as inline SVG: equal bytes for equal numbers, colors that follow the page, text that can be read aloud."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from privsec.core.estimate import Estimate

INK = {
    "#010101": "ink",
    "#020202": "muted",
    "#030303": "rule",
    "#040404": "paper",
    "#050505": "accent",
    "#060606": "bad",
}
"""Stand-ins that matplotlib draws with, and the colors of the page that replace them."""
SERIES = {f"#1010{index:02d}": f"series-{index}" for index in range(1, 6)}
DASHES: tuple[Any, ...] = ("solid", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1.5)))
"""A line style for each series, so that color is never the only difference."""
FLOOR = 1e-3
"""Where the axes of a ROC begin."""


class Point(NamedTuple):
    """A defense in the plane."""

    name: str
    accuracy: Estimate
    advantage: Estimate
    front: bool
    baseline: bool


class Curve(NamedTuple):
    """A ROC curve over targets: mean and band at each false positive rate."""

    label: str
    fpr: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    series: int | None
    """Index of its color, None for the grey background."""


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which (accuracy, leakage) points no other point beats on both axes.

    >>> front([(0.9, 0.5), (0.8, 0.1), (0.7, 0.2)])
    [True, True, False]
    """
    return [
        not any(x >= accuracy and y <= leak and (x, y) != (accuracy, leak) for x, y in points)
        for accuracy, leak in points
    ]


def plane(points: Sequence[Point], family: str | None = None) -> str:
    """The leakage-against-utility plane: a marker and two intervals for each defense, the Pareto front stepped.

    Args:
        points: the defenses.
        family: of the attacks, in a smaller plane; None for all families.
    """
    with canvas(*((5.6, 4.1) if family is None else (4.2, 3.5))) as (figure, axes):
        ends = sorted((p.accuracy.value, p.advantage.value) for p in points if p.front)
        if len(ends) > 1:
            axes.step(
                *zip(*ends, strict=True), where="pre", color="#050505", linewidth=1.2, linestyle=(0, (4, 2)), zorder=1
            )
        for point in points:
            x, y = point.accuracy, point.advantage
            color = "#050505" if point.front else "#020202"
            axes.plot([x.low, x.high], [y.value, y.value], color=color, linewidth=1.4, solid_capstyle="butt", zorder=2)
            axes.plot([x.value, x.value], [y.low, y.high], color=color, linewidth=1.4, solid_capstyle="butt", zorder=2)
            marker, face = ("s" if point.baseline else "o"), (color if point.front else "#040404")
            axes.plot(
                x.value, y.value, marker, markersize=7, color=color, markerfacecolor=face, markeredgewidth=1.6, zorder=3
            )
        axes.axhline(0, color="#020202", linewidth=0.8, zorder=0)
        lows, highs = [p.accuracy.low for p in points], [p.accuracy.high for p in points]
        margin = max(max(highs) - min(lows), 0.05)
        axes.set_xlim(min(lows) - 0.12 * margin, max(highs) + 0.12 * margin)
        bottom, top = min(0.0, *(p.advantage.low for p in points)), max(0.1, *(p.advantage.high for p in points))
        axes.set_ylim(bottom - 0.06 * (top - bottom), top + 0.08 * (top - bottom))
        axes.set_xlabel("test accuracy  (right is better)")
        axes.set_ylabel("advantage of the worst attack  (down is better)")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        _name(axes, points)
        described = "; ".join(
            f"{p.name}: test accuracy {p.accuracy.value:.3f}, worst advantage {p.advantage.value:.3f}" for p in points
        )
        name, of = ("plane", "") if family is None else (f"plane-{family}", f", {family}")
        return inline(figure, name, f"Leakage against utility{of}, one point a defense", described)


def _name(axes: Any, points: Sequence[Point]) -> None:
    """Writes each defense's name where it covers neither a point nor another name."""
    per_inch = 72.0
    transform, height = axes.transData, 11.0
    taken = []
    for point in points:
        x, y = transform.transform((point.accuracy.value, point.advantage.value)) * per_inch / axes.figure.dpi
        taken.append((x - 6, y - 6, x + 6, y + 6))
    left, bottom, right, top = (float(v) * per_inch / axes.figure.dpi for v in axes.bbox.extents)
    for point, (x0, y0, x1, y1) in zip(points, list(taken), strict=True):
        x, y, width = (x0 + x1) / 2, (y0 + y1) / 2, 5.6 * len(point.name) + 4
        best = None
        for dx, dy, align in _PLACES:
            start = x + dx - (width if align == "right" else width / 2 if align == "center" else 0)
            box = (start, y + dy - height / 2, start + width, y + dy + height / 2)
            outside = max(0.0, left - box[0], box[2] - right) + max(0.0, bottom - box[1], box[3] - top)
            cost = sum(_overlap(box, other) for other in taken if other != (x0, y0, x1, y1)) + 50 * outside
            if best is None or cost < best[0] - 1e-9:
                best = (cost, dx, dy, align, box)
        assert best is not None
        _, dx, dy, align, box = best
        taken.append(box)
        axes.annotate(
            point.name, (point.accuracy.value, point.advantage.value), (dx, dy), textcoords="offset points",
            ha=align, va="center", color="#010101", weight="bold" if point.front else "normal", annotation_clip=False,
        )  # fmt: skip


_PLACES = tuple(
    (dx, dy, align)
    for reach in (0, 12, 24, 36)
    for dx, dy, align in (
        (10, 9 + reach, "left"),
        (-10, 9 + reach, "right"),
        (10, -10 - reach, "left"),
        (-10, -10 - reach, "right"),
        (0, 14 + reach, "center"),
        (0, -15 - reach, "center"),
    )
)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def roc(
    name: str,
    title: str,
    curves: Sequence[Curve],
    *,
    size: tuple[float, float] = (3.3, 3.0),
    limit: tuple[np.ndarray, np.ndarray] | None = None,
) -> str:
    """Log-log ROC curves of one defense: colored with a band for the strongest attacks, grey for the others.

    Args:
        name, title: of the figure.
        curves: later ones over earlier ones.
        size: width and height in inches.
        limit: (false positive rates, true positive rates); what lies above is shaded.
    """
    with canvas(*size) as (figure, axes):
        if limit is not None:
            axes.fill_between(*limit, 1.15, color="#060606", alpha=0.13, linewidth=0, zorder=0)
            axes.plot(*limit, color="#060606", linewidth=0.9, zorder=1)
        axes.plot([FLOOR, 1], [FLOOR, 1], color="#020202", linewidth=0.9, linestyle=(0, (2, 2)))
        for curve in curves:
            clipped = [np.clip(part, FLOOR / 3, 1.0) for part in (curve.mean, curve.low, curve.high)]
            if curve.series is None:
                axes.plot(curve.fpr, clipped[0], color="#020202", linewidth=0.7, alpha=0.7)
                continue
            color = list(SERIES)[curve.series]
            axes.fill_between(curve.fpr, clipped[1], clipped[2], color=color, alpha=0.18, linewidth=0)
            axes.plot(curve.fpr, clipped[0], color=color, linewidth=1.7, linestyle=DASHES[curve.series])
        log_log(axes)
        described = "; ".join(_at_one_percent(curve) for curve in curves)
        return inline(figure, name, title, described)


def log_log(axes: Any) -> None:
    """Makes the axes those of a ROC: logarithmic, in percent, from `FLOOR` to 1."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(FLOOR, 1)
    axes.set_ylim(FLOOR, 1.15)
    ticks = [0.001, 0.01, 0.1, 1]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, ["0.1%", "1%", "10%", "100%"])
        axis.set_ticks([], minor=True)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")


def _at_one_percent(curve: Curve) -> str:
    rate = float(np.interp(0.01, curve.fpr, curve.mean))
    said = "not resolved" if np.isnan(rate) else f"{100 * rate:.1f}% true positives"
    return f"{curve.label}: {said} at 1% false positives"


def swatch(series: int | None) -> str:
    """A short line in the color and dash of a series, for legends."""
    dashes = DASHES[series] if series is not None else "solid"
    pattern = "" if dashes == "solid" else f' stroke-dasharray="{" ".join(f"{1.7 * d:.1f}" for d in dashes[1])}"'
    color, width = (f"series-{series + 1}", 3) if series is not None else ("muted", 1.2)
    return (
        '<svg class="swatch" viewBox="0 0 34 8" width="34" height="8" aria-hidden="true">'
        '<line x1="0" y1="4" x2="34" y2="4" '
        f'style="stroke: var(--{color})" stroke-width="{width}"{pattern}/></svg>'
    )


@contextmanager
def canvas(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure of so many inches and its axes, whatever the user's settings; only to be drawn on inside the block."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "privsec",
        "font.family": ["DejaVu Sans"],
        "font.size": 9.0,
        "text.color": "#010101",
        "axes.labelcolor": "#020202",
        "axes.edgecolor": "#020202",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "grid.color": "#030303",
        "grid.linewidth": 0.7,
        "xtick.color": "#020202",
        "ytick.color": "#020202",
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "path.simplify": True,
    }
    with matplotlib.rc_context(style):  # pyright: ignore[reportArgumentType]
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        left, right, bottom, top = 0.72 / width, 0.25 / width, 0.46 / height, 0.1 / height  # room for labels, in inches
        yield figure, figure.add_axes((left, bottom, 1 - left - right, 1 - bottom - top))


def inline(figure: Any, name: str, title: str, description: str) -> str:
    """The figure as an SVG element without anything that depends on the day or clashes with another figure's ids."""
    with io.StringIO() as buffer:
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->|<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL
    )
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r' d="[^"]*"', lambda match: _NUMBER.sub(lambda n: f"{float(n[0]):.1f}", match[0]), text)
    text = re.sub(r"font: ([\d.]+px|bold [\d.]+px|(?:\d+ )?[\d.]+px) [^;\"]*", r"font: \1 var(--sans)", text)
    for color, variable in {**INK, **SERIES}.items():
        text = text.replace(color, f"var(--{variable})")
    width, height = re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2]
    opening = (
        f'<svg class="figure" role="img" aria-labelledby="{name}-title {name}-desc" viewBox="0 0 {width} {height}" '
        f'style="max-width: {float(width) * 1.6:.0f}px"><title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    return re.sub(r"\s*\n\s*", "\n", opening + text[text.index(">") + 1 :].strip())


_NUMBER = re.compile(r"-?\d+\.\d+")
