"""Whether members and non-members could be told apart without the model, by the records alone."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from privsec.auditor.judged import Units
from privsec.auditor.pool import Pool, as_features, digests
from privsec.auditor.record import Caution, Figure
from privsec.core.estimate import Estimate
from privsec.measures.blind import MEASURE, blind_auc

SHUFFLES = 40
"""Random memberships that say how far from 0.5 the blind AUC strays by luck."""


def blind(pool: Pool, units: Units, alpha: float, seed: int) -> Figure | None:
    """The blind AUC, and an interval as wide as that AUC varies when membership is shuffled.

    None where neither records nor labels are known.
    """
    if pool.side.x is None and pool.y is None:
        return None
    x = np.zeros((pool.size, 0), np.float32) if pool.side.x is None else as_features(pool.side.x).reshape(pool.size, -1)
    y = np.zeros(pool.size, np.int32) if pool.y is None else pool.y
    rng = np.random.default_rng(seed)
    # Whole units are shuffled: the records of one person stay together.
    shuffled = [rng.permutation(units.member)[units.of] for _ in range(SHUFFLES)]
    values = blind_auc(x, y, np.stack([pool.member, *shuffled]))
    values, chance = values[0], values[1:]
    chance = chance[np.isfinite(chance)]
    if not np.isfinite(values) or len(chance) < 2:
        return None
    half = -float(stdtrit(len(chance), alpha / 2)) * float(np.sqrt(np.mean((chance - 0.5) ** 2)))
    unit, direction, _, _ = MEASURE
    low, high = max(values - half, 0.0), min(values + half, 1.0)
    return Figure.of(Estimate(float(values), float(low), float(high), len(units.member), unit, direction))


def repeats(pool: Pool) -> int:
    """How many records have the same content as another one."""
    if pool.side.x is None:
        return 0
    return pool.size - len(np.unique(digests(pool.side.x)))


def shift(blind: Figure | None, attacked: Figure | None, *, labels_only: bool) -> list[Caution]:
    """What the blind baseline says of the figures.

    Members that differ in kind from non-members make every figure doubtful, and void where the attacks do not surely
    outdo the classifier that never meets the model.

    Args:
        blind: its AUC.
        attacked: the worst AUC over attacks.
        labels_only: whether the records themselves were not given.
    """
    if blind is None or blind.low is None or blind.high is None:
        text = "Neither records nor labels were given, so nobody checked whether members and non-members are alike."
        return [Caution(code="no-blind-baseline", severity="note", text=text)]
    if blind.low <= 0.5:
        if not labels_only:
            return []
        text = "Members and non-members were compared by their labels only, as the records were not given."
        return [Caution(code="no-blind-baseline", severity="note", text=text)]
    text = (
        f"Members can be told from non-members by {'their labels' if labels_only else 'the records'} alone, without "
        f"the model: AUC {blind.value:.3f} (at least {blind.low:.3f}). They come from different distributions, "
    )
    outdone = attacked is not None and attacked.low is not None and attacked.low > blind.high
    if outdone:
        text += "so the attacks' success is not the model's doing alone, though they do better than that."
    else:
        text += "and the attacks do not surely do better: the figures say nothing about the model."
    text += " Draw members and non-members at random from the same records."
    return [Caution(code="distribution-shift", severity="warning" if outdone else "invalid", text=text)]
