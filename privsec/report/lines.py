"""Curves on linear axes with a band: what is left of the accuracy, what is gained by asking more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from privsec.report import figures
from privsec.report.figures import DASHES, SERIES, canvas, inline

INK = "#020202"
MARKERS = ("o", "s", "^", "D", "v")
"""A marker for each series, so that color is never the only difference."""
_SHAPES = (
    '<circle cx="17" cy="5" r="4"/>',
    '<rect x="13.5" y="1.5" width="7" height="7"/>',
    '<path d="M17 .5 21.5 9h-9z"/>',
    '<path d="M17 .2 21.8 5 17 9.8 12.2 5z"/>',
    '<path d="M17 9.5 12.5 1h9z"/>',
)
Legend = Sequence[tuple[str, str]]
"""(swatch, text)."""
Panels = Sequence[tuple[str, str, str]]
"""(defense, note, svg)."""


class Line(NamedTuple):
    """A curve: its mean and band over models at each x, a single marker where there is but one.

    `series` is the index of its color, None for gray. One that is `proven` is the upper end of a shaded area.
    """

    label: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    series: int | None
    proven: bool = False


def lines(name: str, title: str, drawn: Sequence[Line], across: str, up: str, mark: float | None = None) -> str:
    """A panel of curves, shares on the upright axis.

    Args:
        name, title: of the figure.
        drawn: later ones over earlier ones.
        across, up: what the axes say.
        mark: an x that is marked, the one that the tables speak of.
    """
    with canvas(3.3, 3.0) as (figure, axes):
        if mark is not None:
            axes.axvline(mark, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
        for line in drawn:
            color = INK if line.series is None else list(SERIES)[line.series]
            if line.proven:
                axes.fill_between(line.x, 0, line.mean, color=INK, alpha=0.22, linewidth=0)
            elif len(line.x) == 1:
                marker = MARKERS[line.series or 0]
                axes.vlines(line.x, line.low, line.high, color=color, linewidth=1.2)
                axes.plot(
                    line.x, line.mean, marker, color=color, markersize=5, alpha=1 if line.series is not None else 0.7
                )
            else:
                axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
                style = (INK, 0.9, "solid") if line.series is None else (color, 1.7, DASHES[line.series])
                marker = {"marker": "o", "markersize": 3.5} if len(line.x) < 12 else {}
                axes.plot(line.x, line.mean, color=style[0], linewidth=style[1], linestyle=style[2], **marker)
        axes.set_ylim(-0.02, 1.02)
        end = max(float(line.x[-1]) for line in drawn)
        axes.set_xlim(0, end * (1.04 if any(len(line.x) > 1 for line in drawn) else 1.25) or 1.0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        return inline(figure, name, title, "; ".join(map(_said, drawn)))


def over_models(label: str, x: np.ndarray, values: Sequence[np.ndarray], series: int | None) -> Line:
    """The curve of several models [T, R], with the span of their values as its band."""
    every = np.concatenate([np.atleast_2d(each) for each in values])
    return Line(label, x, every.mean(axis=0), every.min(axis=0), every.max(axis=0), series)


def legend(drawn: Sequence[Line], labels: Sequence[str], gray: str) -> Legend:
    """What the colors and markers of all panels mean: `labels` in their order, then what is drawn in `gray`, as far as
    there is any of it.
    """
    found = []
    for series, label in enumerate(labels):
        sizes = [len(line.x) for line in drawn if line.series == series and line.label == label]
        if sizes:
            found.append((_marker(series) if max(sizes) == 1 else figures.swatch(series), label))
    if any(line.series is None and not line.proven for line in drawn):
        found.append((figures.swatch(None), gray))
    if any(line.proven for line in drawn):
        found.append((_SHADE, "proven, whatever the attack"))
    return found


def _marker(series: int) -> str:
    return (
        '<svg class="swatch" viewBox="0 0 34 10" width="34" height="10" aria-hidden="true">'
        f'<g style="fill: var(--series-{series + 1})">{_SHAPES[series]}</g></svg>'
    )


_SHADE = (
    '<svg class="swatch" viewBox="0 0 34 10" width="34" height="10" aria-hidden="true">'
    '<rect width="34" height="10" style="fill: var(--muted)" opacity="0.22"/></svg>'
)


def _said(line: Line) -> str:
    if len(line.x) == 1:
        return f"{line.label}: {line.mean[0]:.3f} at {line.x[0]:g}"
    return f"{line.label}: from {line.mean[0]:.3f} to {line.mean[-1]:.3f}"
