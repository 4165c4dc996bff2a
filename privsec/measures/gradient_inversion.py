"""How many records of a batch come back out of its gradient, beyond what any public record would show of them.

The reconstructions of a batch come in no order: they are assigned to its records at the least total error before
anything is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int, Real

from privsec.core.data import Array
from privsec.core.errors import NotApplicable
from privsec.core.estimate import Estimate
from privsec.core.evidence import Reconstructions
from privsec.measures.advantage import advantage, over_points
from privsec.measures.intervals import Ids, Measure, clopper_pearson, clustered, shared_points
from privsec.measures.similarity import IDENTICAL, psnr, ssim

RECOGNIZED = 20.0
"""PSNR in dB above which a record counts as reconstructed."""

MEASURES: dict[str, Measure] = {
    "advantage": Measure(
        "advantage",
        "higher_is_worse",
        (-1.0, 1.0),
        "success, rescaled: 0 is the best public record or a search without the gradient, 1 is every record",
    ),
    "success": Measure(
        "share", "higher_is_worse", (0.0, 1.0), "records of observed batches reconstructed to more than 20 dB"
    ),
    "null_public": Measure(
        "share", "descriptive", (0.0, 1.0), "records to which some public record is as near, without any gradient"
    ),
    "null_control": Measure(
        "share", "descriptive", (0.0, 1.0), "success of the same search given a gradient that is noise"
    ),
    "psnr": Measure(
        "dB", "higher_is_worse", (-np.inf, IDENTICAL), "peak signal-to-noise ratio of the reconstructions, mean"
    ),
    "psnr_public": Measure("dB", "descriptive", (-np.inf, IDENTICAL), "the same of the nearest public record"),
    "mse": Measure(
        "squared share of the range", "descriptive", (0.0, np.inf), "mean squared error; lower is a better picture"
    ),
    "ssim": Measure("SSIM", "higher_is_worse", (-1.0, 1.0), "structural similarity to the record, of images"),
    "labels_right": Measure("share", "higher_is_worse", (0.0, 1.0), "labels of the batches that were restored"),
    "match": Measure(
        "cosine", "descriptive", (-1.0, 1.0), "between the reconstruction's gradient and the one observed"
    ),
    "records": Measure("records", "descriptive", (0.0, np.inf), "records behind the observed gradients, a target"),
    "batches": Measure("batches", "descriptive", (0.0, np.inf), "observed batches, a target"),
}
"""The measures of the family, in the order of tables; `ssim` is for images."""


class GradientTruth(NamedTuple):
    """What only the measures know.

    Attributes:
        x: the records of the observed batches, batch after batch, the same for every target.
        y: their labels.
        batch: B.
        public: records that were in no batch, of which the nearest is the null.
        width: of the range of each feature; broadcasts to one record.
        control: what the same search finds where the gradient is noise of the observed one's size; None where that
            was not run.
    """

    x: Float[np.ndarray, " K *features"]
    y: Int[np.ndarray, " K"]
    batch: int
    public: Float[np.ndarray, " P *features"]
    width: float | Float[Array, " *features"] = 1.0
    control: Float[np.ndarray, " T K *features"] | None = None


def measure(evidence: Reconstructions, truth: GradientTruth) -> dict[str, Float64[np.ndarray, " T"]]:
    """Every measure of the family for every target.

    `advantage = (s - s0) / (1 - s0)`, with s the share of records reconstructed to more than 20 dB and s0 the larger of
    two shares: records to which some public record is as near (the attacker would not know which), and what the control
    reconstructs. Where s0 is 1, one record stands for what is left open.

    Raises:
        NotApplicable: there are not as many reconstructions as records, or the records are not whole batches.
    """
    count = len(truth.y)
    x = _checked(evidence, truth)
    own, public = _scaled(truth.x, truth), _scaled(truth.public, truth)
    aligned, order = _aligned(x, truth)
    quality = _quality(aligned, own)
    nearest = np.max([_quality(own, record) for record in public], axis=0)
    success, null = (quality > RECOGNIZED).mean(axis=1), float((nearest > RECOGNIZED).mean())
    control = np.full(len(x), np.nan)
    if truth.control is not None:
        control = (_quality(_aligned(truth.control, truth)[0], own) > RECOGNIZED).mean(axis=1)
    best_null = np.fmax(null, control)
    given = np.take_along_axis(np.broadcast_to(evidence.y, order.shape), order, axis=1)
    same = np.ones(len(x))
    per_target = {
        "advantage": advantage(success, best_null, count),
        "success": success,
        "null_public": null * same,
        "null_control": control,
        "psnr": quality.mean(axis=1),
        "psnr_public": nearest.mean() * same,
        "mse": np.mean(np.square(aligned - own), axis=(1, 2, 3, 4)),
    }
    if truth.x.ndim == 4:
        per_target["ssim"] = ssim(aligned, np.broadcast_to(own, aligned.shape), 1.0).mean(axis=1)
    return per_target | {
        "labels_right": np.mean(given == truth.y, axis=1),
        "match": np.asarray(evidence.confidence, np.float64).mean(axis=1),
        "records": count * same,
        "batches": count / truth.batch * same,
    }


def exhibits(evidence: Reconstructions, truth: GradientTruth) -> dict[str, np.ndarray]:
    """What a report shows of each record.

    Returns:
        `x` [T, K, ...features], each reconstruction in the place of its record; `record`, `nearest_public` [K,
        ...features]; `y` int [K], `psnr` float64 [T, K], `success` bool [T, K].
    """
    x, own = _checked(evidence, truth), _scaled(truth.x, truth)
    aligned, order = _aligned(x, truth)
    quality = _quality(aligned, own)
    nearest = np.argmax([_quality(own, record) for record in _scaled(truth.public, truth)], axis=0)
    return {
        "x": np.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), axis=1).astype(np.float32),
        "record": np.asarray(truth.x, np.float32),
        "nearest_public": np.asarray(truth.public, np.float32)[nearest],
        "y": truth.y,
        "psnr": quality,
        "success": quality > RECOGNIZED,
    }


def estimates(per_target: Mapping[str, Real[np.ndarray, " T"]], seeds: Ids | None = None) -> dict[str, Estimate]:
    """One Estimate a measure; its interval covers which batches were drawn and which models were trained.

    Records of one batch come back together or not at all: batches are what an interval counts. Of a mean
    quality it covers the models alone: these batches, other models.

    Args:
        per_target: what `measure` returned, several seeds one after the other.
        seeds: which seed a target belongs to; None for one seed.
    """
    batches, pairs = int(per_target["batches"][0]), np.arange(len(per_target["batches"])) // 2
    null = float(np.fmax(per_target["null_public"], per_target["null_control"]).mean())

    def estimate(name: str, values: Real[np.ndarray, " T"]) -> Estimate:
        unit, direction, bounds, _ = MEASURES[name]
        value, described = float(np.mean(values)), {"unit": unit, "direction": direction, "bounds": bounds}
        if name == "advantage":
            sampling = over_points(float(np.mean(per_target["success"])), null, batches)
        elif unit == "share" and np.isfinite(value):
            sampling = clopper_pearson(value * batches, batches)
        elif unit in ("records", "batches"):
            sampling = (value, value)
        else:
            return clustered(values, pairs, seeds, **described)
        return shared_points(values, sampling, pairs, seeds, points=batches, **described)

    return {name: estimate(name, values) for name, values in per_target.items()}


def assigned(
    found: Float64[np.ndarray, "T K H W C"], records: Float64[np.ndarray, "K H W C"], batch: int
) -> Int[np.ndarray, "T K"]:
    """Which reconstruction of its batch stands for each record: the one-to-one match of least total squared error.

    References: Kuhn 1955, "The Hungarian method for the assignment problem", Naval Research Logistics 2.
    """
    from scipy.optimize import linear_sum_assignment

    order = np.empty(found.shape[:2], np.int64)
    for t, of_target in enumerate(found):
        for start in range(0, len(records), batch):
            rows = slice(start, start + batch)
            error = np.mean(np.square(records[rows, None] - of_target[None, rows]), axis=(2, 3, 4))
            order[t, rows] = start + linear_sum_assignment(error)[1]
    return order


def _scaled(x: Float[np.ndarray, " *shape"], truth: GradientTruth) -> Float64[np.ndarray, " *batch H W C"]:
    """Records in units of the range of their features, with three axes each, as images have."""
    width = np.asarray(truth.width, np.float64)
    scaled = np.asarray(x, np.float64) / np.where(width > 0, width, 1.0)
    return scaled if truth.x.ndim == 4 else scaled[..., None, None]


def _quality(
    x: Float64[np.ndarray, " *batch H W C"], y: Float64[np.ndarray, " *fewer H W C"]
) -> Float64[np.ndarray, " *batch"]:
    return psnr(x, np.broadcast_to(y, x.shape), 1.0)


def _aligned(
    x: Float[np.ndarray, " T K *features"], truth: GradientTruth
) -> tuple[Float64[np.ndarray, "T K H W C"], Int[np.ndarray, "T K"]]:
    """Scaled reconstructions, each in the place of the record it stands for, and where they came from."""
    found = _scaled(x, truth)
    order = assigned(found, _scaled(truth.x, truth), truth.batch)
    return np.take_along_axis(found, order[..., None, None, None], axis=1), order


def _checked(evidence: Reconstructions, truth: GradientTruth) -> Float[np.ndarray, " T K *features"]:
    x, count = np.asarray(evidence.x), len(truth.y)
    if x.shape[1:] != truth.x.shape or count % truth.batch:
        raise NotApplicable(
            f"reconstructions of shape {x.shape[1:]} are held against {count} records {truth.x.shape[1:]} in batches "
            f"of {truth.batch}: every record of every batch needs one."
        )
    return x
