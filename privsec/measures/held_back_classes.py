"""Whether reconstructions of a class show what only a model that was trained on the class can show: whom it knows.

Model 2p was trained on all candidates of a class and model 2p + 1 on none. A reconstruction is a success when every
evaluator accepts it *and* it lies nearer to the class's training records than to as many held-out records of others.
The null is the same attack on the model that never saw the class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Shaped

from privsec.core.data import Examples
from privsec.core.evidence import Reconstructions
from privsec.measures import inversion
from privsec.measures.intervals import Measure
from privsec.measures.inversion import (
    InversionTruth,
    accepted_by_all,
    check_pairs,
    expected_nearest,
    over_classes,
    successes,
)
from privsec.measures.similarity import psnr, ssim

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "success, rescaled: 0 is the better of the two controls, which never met the class, 1 is complete",
    ),
    "success": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "classes both accepted and nearer to their own records than to others'"
    ),
    "accepted": inversion.MEASURES["accepted"],
    "nearer_to_class": Measure(
        "share",
        "higher_is_worse",
        (0.0, 1.0),
        "reconstructions nearer to the class's training records than to as many held-out ones of other classes",
    ),
    "null_success": Measure(
        "share", "descriptive", (0.0, 1.0), "success of what was reconstructed from the twin, which never saw the class"
    ),
    "null_class_mean": Measure(
        "share", "descriptive", (0.0, 1.0), "success of the mean of the attacker's own records, without any model"
    ),
    "target_confidence": inversion.MEASURES["target_confidence"],
    "nearer_to_members": Measure(
        "share",
        "descriptive",
        (0.0, 1.0),
        "reconstructions nearer to the class's training records than to as many held-out ones of the same class",
    ),
    "null_nearer_to_members": Measure("share", "descriptive", (0.0, 1.0), "the same of the twin's reconstructions"),
    "classes": inversion.MEASURES["classes"],
    "psnr": inversion.MEASURES["psnr"],
    "ssim": inversion.MEASURES["ssim"],
    "null_ssim": Measure("SSIM", "descriptive", (-1.0, 1.0), "the same of the twin's reconstructions"),
}
"""The measures, in the order of tables; the last three are for images."""


class Nearness(NamedTuple):
    """How images [T, K] lie to records of their class; NaN where there are none to compare. It asks no model.

    Attributes:
        others: distance to the nearest held-out record of another class less that to the nearest candidate of the
            image's, the larger side averaged over all its subsets of the smaller one's size.
        same: likewise for held-out records of the same class.
        candidate, held_out: index of the nearest one of the same class; -1 for none.
    """

    others: Float64[np.ndarray, "T K"]
    same: Float64[np.ndarray, "T K"]
    candidate: Int[np.ndarray, "T K"]
    held_out: Int[np.ndarray, "T K"]


def measure(
    evidence: Reconstructions, truth: InversionTruth, held_out: Examples
) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure for every target, over the classes of which it knows all candidates and its twin none.

    `advantage = (s - s0) / (1 - mean s0)`: s is the success of target t's reconstructions, s0 that of the better of two
    controls (on average over the targets): the twin's reconstructions of the same classes, and the mean of the
    attacker's own records. Whether an image is a success depends on the image and the class alone, never on the model
    that it came from. Hence:

    - 0 on average, or a little below, wherever the training set does not matter, as the two models of a pair are then
      exchangeable; 1 where every reconstruction is a success and no control's.
    - To be taken for a class by chance, or because the attack and its prior draw any class well, is part of s0.

    Args:
        evidence: the reconstructions of pairs of targets.
        truth: `class_means` are those of the attacker's own records.
        held_out: records that neither the targets nor the attack have seen, those of every class among them.

    Returns:
        NaN where no class of a target can be judged. `psnr`, `ssim` and `null_ssim` for images only.

    Raises:
        NotApplicable: the targets are not complementary pairs, or there are fewer than two evaluators.
    """
    check_pairs(evidence, truth)
    x, y = np.asarray(evidence.x, np.float64), np.asarray(evidence.y)
    twin = np.arange(len(x)) ^ 1
    judged = _judged(truth, y)
    near, prior = _nearness(x, y, truth, held_out), _nearness(truth.class_means[None], y, truth, held_out)
    accepted = accepted_by_all(truth.labels, y)
    success = successes(accepted, near.others)
    image = np.broadcast_to(successes(accepted_by_all(truth.class_mean_labels, y)[None], prior.others), success.shape)
    closer = successes(np.ones_like(accepted), near.same)

    def mean(values: Shaped[np.ndarray, "T K"]) -> Float64[np.ndarray, " T"]:
        return over_classes(np.where(judged, values, np.nan))

    own, null, without = mean(success), mean(success[twin]), mean(image)
    control = max(null, without, key=lambda values: np.nansum(values))
    per_target = {
        "advantage": _advantage(own, control),
        "success": own,
        "accepted": mean(accepted),
        "nearer_to_class": mean(successes(np.ones_like(accepted), near.others)),
        "null_success": null,
        "null_class_mean": without,
        "target_confidence": mean(np.asarray(evidence.confidence, np.float64)),
        "nearer_to_members": mean(closer),
        "null_nearer_to_members": mean(closer[twin]),
        "classes": judged.sum(axis=1).astype(np.float64),
    }
    if x.ndim == 5:
        candidates = np.asarray(truth.x, np.float64)
        like = ssim(x, candidates[near.candidate], truth.data_range)
        per_target["psnr"] = mean(psnr(x, candidates[near.candidate], truth.data_range))
        per_target |= {"ssim": mean(like), "null_ssim": mean(like[twin])}
    return per_target


def exhibits(evidence: Reconstructions, truth: InversionTruth, held_out: Examples) -> dict[str, np.ndarray]:
    """What a report shows of each reconstruction.

    Returns:
        `x`, `twin` (the reconstruction from the model that never saw the class), `nearest_member`, `nearest_held_out`
        (of the same class) float32 [T, K, ...features] (NaN where there is no such record), `y` int [K], `accepted`
        bool [T, K], `judged` bool [T, K].
    """
    check_pairs(evidence, truth)
    x, y = np.asarray(evidence.x, np.float32), np.asarray(evidence.y)
    near = _nearness(np.asarray(x, np.float64), y, truth, held_out)

    def pick(records: np.ndarray, index: Int[np.ndarray, "T K"]) -> np.ndarray:
        found = np.asarray(records, np.float32)[index]
        found[index < 0] = np.nan
        return found

    return {
        "x": x,
        "twin": x[np.arange(len(x)) ^ 1],
        "nearest_member": pick(truth.x, near.candidate),
        "nearest_held_out": pick(np.asarray(held_out.x), near.held_out),
        "y": y,
        "accepted": accepted_by_all(truth.labels, y),
        "judged": _judged(truth, y),
    }


def _judged(truth: InversionTruth, y: Int[np.ndarray, " K"]) -> Bool[np.ndarray, "T K"]:
    """Of which classes each target was trained on every candidate, and its twin on none."""
    of_class = truth.y == y[:, None]
    return of_class.any(axis=1) & ~np.any(~truth.member[:, None] & of_class, axis=2)


def _nearness(
    images: Float[np.ndarray, " T K *features"], y: Int[np.ndarray, " K"], truth: InversionTruth, held_out: Examples
) -> Nearness:
    shape = images.shape[:2]
    others, same = np.full(shape, np.nan), np.full(shape, np.nan)
    candidate, nearest = np.full(shape, -1), np.full(shape, -1)
    for k, label in enumerate(y):
        rows, kept = np.flatnonzero(truth.y == label), np.flatnonzero(np.asarray(held_out.y) == label)
        if not len(rows):
            continue
        for t in range(shape[0]):
            own = _distances(images[t, k], truth.x[rows])
            outside = _distances(images[t, k], np.asarray(held_out.x))
            candidate[t, k] = rows[np.argmin(own)]
            if len(kept):
                nearest[t, k] = kept[np.argmin(outside[kept])]
                same[t, k] = _gap(own, outside[kept])
            if len(kept) < len(outside):
                others[t, k] = _gap(own, np.delete(outside, kept))
    return Nearness(others, same, candidate, nearest)


def _distances(image: np.ndarray, records: np.ndarray) -> Float64[np.ndarray, " N"]:
    """Root mean square over features."""
    return np.sqrt(np.mean(np.square(np.asarray(records, np.float64) - image), axis=tuple(range(1, records.ndim))))


def _gap(own: Float64[np.ndarray, " A"], others: Float64[np.ndarray, " B"]) -> float:
    size = min(len(own), len(others))
    return expected_nearest(others, size) - expected_nearest(own, size)


def _advantage(own: Float64[np.ndarray, " T"], control: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
    known = np.isfinite(control)
    room = 1 - control[known].mean() if known.any() else 1.0
    if room <= 0:  # the control always succeeds, and nothing is left to gain
        return np.where(known, 0.0, np.nan)
    gained = (own - control) / room
    # Only the mean is kept above -1: cut off target by target, losses would weigh less than gains.
    return gained / max(1.0, -gained[known].mean()) if known.any() else gained
