"""Records that are there more than once, so that a model knows some of them though they are not in its training set.

References: Lee et al. 2022, arXiv 2107.06499; Barz & Denzler 2020, "Do we train on test data? Purging CIFAR of
near-duplicates", arXiv 1902.00423.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int64

from privsec.ops.contents import digests
from privsec.ops.neighbors import flat, nearest, typical_distance

NEAR = 0.05
"""Records are nearly equal at up to this share of the median distance of two, as the defense `duplicates` has it."""
MOST = 3000
"""Of more records than this only equal ones are looked for."""


def copies(
    x: Float[np.ndarray, " N *features"],
    include: Bool[np.ndarray, "M N"],
    public: Float[np.ndarray, " K *features"],
    rng: np.random.Generator,
) -> dict[str, float]:
    """How many of N records have a copy, and how many of those outside a training set have one inside.

    Args:
        x: the candidates.
        include: who is in whose training set.
        public: records that no model is trained on.
        rng: draws the pairs of which the median distance is taken.

    Returns:
        `equal` and `near` (which counts equal ones too; left out of too many records), of candidates that another
        candidate is a copy of; `public`, of those that a public record is equal to; `across`, the share of a model's
        non-members that have their nearest copy among its members, on average over models.

    >>> include = np.array([[True, True, False, False], [False, False, True, True]])
    >>> found = copies(np.array([[0.0], [5.0], [0.0], [9.0]]), include, np.array([[5.0]]), np.random.default_rng(0))
    >>> found["equal"], found["public"], found["across"]
    (2, 1, 0.5)
    """
    names, others = (digests(np.asarray(part) + 0.0) for part in (x, public))  # minus zero equals zero
    known = set(others)
    partner = _partners(names)
    found: dict[str, float] = {"equal": int(np.sum(partner >= 0)), "public": sum(name in known for name in names)}
    if 1 < len(x) <= MOST:
        flattened = flat(x)
        distance, row = nearest(flattened, None, 1)
        close = (partner < 0) & (distance[:, 0] <= NEAR * typical_distance(flattened, rng))
        partner = np.where(close, row[:, 0], partner)
        found["near"] = int(np.sum(partner >= 0))
    doubled = (partner >= 0) & include[:, np.maximum(partner, 0)]
    shares = [np.mean(doubled[m][~row]) for m, row in enumerate(include) if not row.all()]
    found["across"] = float(np.mean(shares)) if shares else 0.0
    return found


def _partners(names: list[bytes]) -> Int64[np.ndarray, " N"]:
    """For each record the next one that is equal, for the last of them the first; -1 for one that is there once."""
    rows: dict[bytes, list[int]] = {}
    for n, name in enumerate(names):
        rows.setdefault(name, []).append(n)
    partner = np.full(len(names), -1, np.int64)
    for group in rows.values():
        if len(group) > 1:
            partner[group] = np.roll(group, -1)
    return partner
