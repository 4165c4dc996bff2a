"""Whether reconstructions of a class show the target's training records, or only what the class looks like.

A high confidence, even of models that were not attacked, is no evidence of leakage. A reconstruction is a success when
every evaluator accepts it *and* it lies nearer to the class's training records than to as many records of the class
that the target never saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real, Shaped

from privsec.core.data import Array
from privsec.core.errors import NotApplicable
from privsec.core.estimate import Estimate
from privsec.core.evidence import Reconstructions
from privsec.measures.intervals import Ids, Measure, clustered
from privsec.measures.similarity import psnr, ssim

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "success, rescaled: 0 is the same attack on a model that may not have seen these records, 1 is complete",
    ),
    "success": Measure("share", "higher_is_worse", (0.0, 1.0), "classes both accepted and nearer to members"),
    "accepted": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "reconstructions that every independent evaluator calls by their class"
    ),
    "nearer_to_members": Measure(
        "share",
        "higher_is_worse",
        (0.0, 1.0),
        "reconstructions nearer to the class's training records than to as many held-out ones; 0.5 is chance",
    ),
    "null_success": Measure(
        "share", "descriptive", (0.0, 1.0), "success of what was reconstructed from the twin, trained on the other half"
    ),
    "null_class_mean": Measure(
        "share", "descriptive", (0.0, 1.0), "success of the class's mean over public records, without any model"
    ),
    "target_confidence": Measure(
        "probability", "descriptive", (0.0, 1.0), "what the attacked model itself says of its reconstructions"
    ),
    "nn_gap": Measure(
        "feature units",
        "higher_is_worse",
        (-np.inf, np.inf),
        "how much nearer members are than held-out records (root mean square over features); 0 is chance",
    ),
    "nn_gap_spread": Measure("feature units", "descriptive", (0.0, np.inf), "standard deviation of that over classes"),
    "classes": Measure("classes", "descriptive", (0.0, np.inf), "classes that could be judged, a target"),
    "psnr": Measure(
        "dB",
        "higher_is_worse",
        (-np.inf, np.inf),
        "peak signal-to-noise ratio to the nearest training image of the class",
    ),
    "ssim": Measure(
        "SSIM", "higher_is_worse", (-1.0, 1.0), "structural similarity to the nearest training image of the class"
    ),
}
"""The measures of the family, in the order of tables; the last two are for images."""


class InversionTruth(NamedTuple):
    """What only the measures know.

    Attributes:
        x: the candidates, every one a training record of some target and held out from its twin.
        y: their classes.
        member: who was in target t's training set; rows 2p and 2p + 1 are complements.
        labels: what each of E >= 2 evaluators calls each reconstruction; they were trained without the targets' help,
            and one of them adversarially.
        class_means: the mean of the public records of each reconstructed class.
        class_mean_labels: what the evaluators call those.
        data_range: width of the range of a feature, for PSNR and SSIM.
    """

    x: Float[np.ndarray, " N *features"]
    y: Int[np.ndarray, " N"]
    member: Bool[np.ndarray, "T N"]
    labels: Int[np.ndarray, "E T K"]
    class_means: Float[np.ndarray, " K *features"]
    class_mean_labels: Int[np.ndarray, "E K"]
    data_range: float = 1.0


class Neighbors(NamedTuple):
    """Where T x K images lie between members and held-out records of their class.

    Attributes:
        gap: distance to the nearest held-out record less that to the nearest member, the larger side averaged
            over all its subsets of the smaller one's size; root mean square over features. NaN where a side is empty.
        member, held_out: index of the nearest candidate of each kind, all of them considered; -1 for none.
    """

    gap: Float64[np.ndarray, "T K"]
    member: Int[np.ndarray, "T K"]
    held_out: Int[np.ndarray, "T K"]


def measure(evidence: Reconstructions, truth: InversionTruth) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure of the family for every target.

    `advantage = (s - s0) / (1 - mean s0)` with `s0 = (s + s') / 2`: s is the success of target t's reconstructions, s'
    that of its twin's, judged against the same records. s0 is thus the success of an attacker who holds one of the two
    models and cannot tell which. A model trained on third records would do as well, whereas the twin alone does worse
    than chance where models leak, having seen exactly the held-out side. Hence:

    - 0 on average wherever membership is unrelated to training, whatever share of reconstructions is accepted, as the
      two models of a pair are exchangeable; 1 where every reconstruction is accepted and nearer to its own members.
    - mean s0 <= 1/2 (an image cannot be nearer to both halves), so nothing is ever divided by zero.
    - An image made without any model does no better: it is nearer to exactly one half of a pair, so its success is half
      its acceptance. The class mean's is shown beside (`null_class_mean`).

    A class without a member or without a held-out record in t's half cannot be judged and is left out, for both twins.

    Returns:
        NaN where no class of a target can be judged. `psnr` and `ssim` for images only.

    Raises:
        NotApplicable: the targets are not complementary pairs, or there are fewer than two evaluators.
    """
    check_pairs(evidence, truth)
    x, y = np.asarray(evidence.x, np.float64), np.asarray(evidence.y)
    twin = np.arange(len(x)) ^ 1
    accepted = accepted_by_all(truth.labels, y)
    means = np.broadcast_to(truth.class_means, x.shape)
    own, other, mean = (_neighbors(images, y, truth) for images in (x, x[twin], means))

    success = successes(accepted, own.gap)
    null = successes(accepted[twin], other.gap)
    chance = (success + null) / 2
    image = np.broadcast_to(accepted_by_all(truth.class_mean_labels, y), accepted.shape)
    judged = np.isfinite(own.gap)
    per_target = {
        "advantage": over_classes(success - chance) / (1 - np.nanmean(chance) if judged.any() else 1),
        "success": over_classes(success),
        "accepted": over_classes(accepted),
        "nearer_to_members": over_classes(successes(np.ones_like(accepted), own.gap)),
        "null_success": over_classes(null),
        "null_class_mean": over_classes(successes(image, mean.gap)),
        "target_confidence": over_classes(np.asarray(evidence.confidence, np.float64)),
        "nn_gap": over_classes(own.gap),
        "nn_gap_spread": np.sqrt(over_classes((own.gap - over_classes(own.gap)[:, None]) ** 2)),
        "classes": judged.sum(axis=1).astype(np.float64),
    }
    if x.ndim == 5:
        nearest = np.asarray(truth.x, np.float64)[own.member]
        per_target["psnr"] = over_classes(np.where(judged, psnr(x, nearest, truth.data_range), np.nan))
        per_target["ssim"] = over_classes(np.where(judged, ssim(x, nearest, truth.data_range), np.nan))
    return per_target


def exhibits(evidence: Reconstructions, truth: InversionTruth) -> dict[str, np.ndarray]:
    """What a report shows of each reconstruction.

    Returns:
        `x`, `nearest_member`, `nearest_held_out` float32 [T, K, ...features] (NaN where there is no such record), `y`
        int [K], `accepted` bool [T, K], `gap` float64 [T, K] (NaN where a class cannot be judged).
    """
    check_pairs(evidence, truth)
    y = np.asarray(evidence.y)
    near = _neighbors(np.asarray(evidence.x, np.float64), y, truth)

    def pick(index: Int[np.ndarray, "T K"]) -> Float[np.ndarray, " T K *features"]:
        found = np.asarray(truth.x, np.float32)[index]
        found[index < 0] = np.nan
        return found

    return {
        "x": np.asarray(evidence.x, np.float32),
        "nearest_member": pick(near.member),
        "nearest_held_out": pick(near.held_out),
        "y": y,
        "accepted": accepted_by_all(truth.labels, y),
        "gap": near.gap,
    }


def estimates(
    per_target: Mapping[str, Real[np.ndarray, " T"]],
    seeds: Ids | None = None,
    measures: Mapping[str, Measure] = MEASURES,
) -> dict[str, Estimate]:
    """One Estimate a measure, over pairs of targets.

    Args:
        per_target: what `measure` returned, several seeds one after the other.
        seeds: which seed a target belongs to; None for one seed.
        measures: what they are.
    """
    # Where all targets agree, every class of every pair counts as one comparison of two random halves.
    trials = int(np.sum(per_target["classes"])) // 2 or None

    def estimate(name: str, values: Real[np.ndarray, " T"]) -> Estimate:
        unit, direction, bounds, _ = measures[name]
        counted = trials if unit in ("share", "advantage") else None
        pairs = np.arange(len(values)) // 2
        return clustered(values, pairs, seeds, unit=unit, direction=direction, bounds=bounds, trials=counted)

    return {name: estimate(name, values) for name, values in per_target.items()}


def class_means(
    x: Real[Array, " N *features"], y: Int[Array, " N"], classes: Int[Array, " K"] | Sequence[int]
) -> Float64[np.ndarray, " K *features"]:
    """The mean public record of each class; the mean of all records for a class without any."""
    overall = np.mean(x, axis=0, dtype=np.float64)
    return np.stack(
        [np.mean(x[y == c], axis=0, dtype=np.float64) if np.any(y == c) else overall for c in np.asarray(classes)]
    )


def expected_nearest(distances: Real[np.ndarray, " N"], size: int) -> float:
    """The smallest of `size` distances drawn without replacement, averaged over all draws; exact, no randomness.

    The i-th smallest of n (from 0) is the minimum of a subset of m with probability C(n - 1 - i, m - 1) / C(n, m).

    >>> expected_nearest(np.array([1.0, 2.0, 4.0]), 2)  # minima of the three pairs: 1, 1, 2
    1.3333333333333333
    """
    n = len(distances)
    rank = np.arange(n - size)
    chance = size / n * np.cumprod(np.concatenate([[1.0], (n - size - rank) / (n - 1 - rank)]))
    return float(chance @ np.sort(np.asarray(distances, np.float64))[: n - size + 1])


def _neighbors(
    images: Float[np.ndarray, " T K *features"], y: Int[np.ndarray, " K"], truth: InversionTruth
) -> Neighbors:
    targets, prompts = images.shape[:2]
    gap = np.full((targets, prompts), np.nan)
    nearest = np.full((2, targets, prompts), -1)
    for k, label in enumerate(y):
        rows = np.flatnonzero(truth.y == label)
        records = np.asarray(truth.x[rows], np.float64)
        for t in range(targets):
            distance = np.sqrt(np.mean(np.square(records - images[t, k]), axis=tuple(range(1, records.ndim))))
            sides = [truth.member[t, rows], ~truth.member[t, rows]]
            for which, side in enumerate(sides):
                if side.any():
                    nearest[which, t, k] = rows[side][np.argmin(distance[side])]
            size = min(int(side.sum()) for side in sides)
            if size:
                inside, outside = (expected_nearest(distance[side], size) for side in sides)
                gap[t, k] = outside - inside
    return Neighbors(gap, *nearest)


def successes(accepted: Bool[np.ndarray, "T K"], gap: Float64[np.ndarray, "T K"]) -> Float64[np.ndarray, "T K"]:
    """Each in {0, 1/2, 1}; a tie is half a success, so that the two halves of a pair always share one. NaN stays."""
    return np.where(np.isfinite(gap), accepted * (np.sign(gap) + 1) / 2, np.nan)


def accepted_by_all(
    labels: Int[np.ndarray, " E *targets K"], y: Int[np.ndarray, " K"]
) -> Bool[np.ndarray, " *targets K"]:
    """Which reconstructions every evaluator calls by their class."""
    return np.all(np.asarray(labels) == y, axis=0)


def over_classes(values: Shaped[np.ndarray, "T K"]) -> Float64[np.ndarray, " T"]:
    """Mean over classes without the NaN; NaN where nothing is left."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    return np.where(count, np.where(known, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def check_pairs(evidence: Reconstructions, truth: InversionTruth) -> None:
    """Raises NotApplicable where targets are not complementary pairs, or fewer than two evaluators were asked."""
    targets = len(evidence.x)
    member = truth.member
    if targets % 2 or len(member) != targets or np.any(member[::2] == member[1::2]):
        raise NotApplicable(
            f"a reconstruction is judged beside its twin's, trained on the complementary half, but these {targets} "
            f"targets ({len(member)} membership rows) are not complementary pairs. Attack models 2p and 2p + 1."
        )
    if len(truth.labels) < 2 or len(truth.class_mean_labels) != len(truth.labels):
        raise NotApplicable(
            f"acceptance takes the labels of two or more evaluators, the same for reconstructions and class means; "
            f"got {len(truth.labels)} and {len(truth.class_mean_labels)}."
        )
