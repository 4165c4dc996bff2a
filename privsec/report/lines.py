"""Curves on linear axes with a band: what is left of the accuracy, what is gained by asking more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from privsec.report.figures import DASHES, SERIES, canvas, inline


class Line(NamedTuple):
    """A curve: its mean and band over models at each x; `series` is the index of its color, None for grey."""

    label: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    series: int | None


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
            axes.axvline(mark, color="#020202", linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
        for line in drawn:
            color = "#020202" if line.series is None else list(SERIES)[line.series]
            dashes = (0, (1, 2)) if line.series is None else DASHES[line.series]
            axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
            marker = {"marker": "o", "markersize": 4} if len(line.x) < 12 else {}
            axes.plot(line.x, line.mean, color=color, linewidth=1.7, linestyle=dashes, **marker)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlim(0, max(float(line.x[-1]) for line in drawn) * 1.02 or 1.0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        said = "; ".join(f"{line.label}: from {line.mean[0]:.3f} to {line.mean[-1]:.3f}" for line in drawn)
        return inline(figure, name, title, said)


def over_models(label: str, x: np.ndarray, values: Sequence[np.ndarray], series: int | None) -> Line:
    """The curve of several models [T, R], with the span of their values as its band."""
    every = np.concatenate([np.atleast_2d(each) for each in values])
    return Line(label, x, every.mean(axis=0), every.min(axis=0), every.max(axis=0), series)
