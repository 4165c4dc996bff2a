"""BaVarIA: LiRA's likelihood ratio with a conjugate prior in place of a choice between shared and own variances.

LiRA and RMIA are one exponential-family likelihood ratio that estimates four numbers a record or one; with few
references the variances are what goes wrong. Here means and variance of a record have a normal-inverse-gamma prior, its
parameters learnt on the references' answers to all records, and the score is a ratio of posterior predictive densities.

The prior-free end, BASE (Lassila et al. 2025, arXiv 2505.24089), is log p(target) - log mean p(references): it orders
records as `RMIA(temperature=1)` does, and is therefore no attack of its own.

References:
    Brännvall 2026, "Exponential-family membership inference: from LiRA and RMIA to BaVarIA", arXiv 2603.11799.
    Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3 (the prior's weight, from log variances).
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64
from pydantic import Field
from scipy.special import polygamma

from privsec.attacks.membership.lira import FLOOR, RESOLUTION, views
from privsec.core import axis
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.errors import NotApplicable
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.ops.leave_out import Moments, chunks, complements, moments
from privsec.ops.smooth import Smoother

Likelihood = Literal["student_t", "gaussian"]
Row = Float64[np.ndarray, " N"]

BLOCK = 64
"""Targets whose moments are held at once."""
WEIGHTS = np.geomspace(1.5, 50.0, 200)
"""The values that `a`, the weight of the variance's prior, may take."""
NORMAL = 1e9
"""Degrees of freedom at which Student's distribution is the normal one."""
SQUARE_MEDIAN = 0.4549
"""The median of a squared standard normal variable."""


class BaVarIA(Attack):
    """The Bayesian likelihood-ratio attack, from one IN and one OUT reference up; offline from two OUT ones."""

    name: Literal["bavaria"] = "bavaria"
    online: bool = True
    """Whether the attacker has references trained on the candidates. Offline takes a record's IN answers from its OUT
    ones and the shift that training brought to *other* records."""
    likelihood: Likelihood = "student_t"
    """The posterior predictive density itself, or a normal one with the posterior mean of the variance."""
    queries: int = Field(default=1, ge=1, le=18)
    """How many views of each record are asked about: the record, and augmented copies of it (see `ops/augment.py`).
    As for `LiRA`, more than one pays against models that were trained on such copies."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})
    paper: ClassVar[str] = "Brännvall 2026, arXiv 2603.11799"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        least = {"inside": 1, "outside": 1} if self.online else {"inside": 0, "outside": 2}
        seen = views(target, knowledge, key, self.queries, **least)
        scores = sum(predictive_ratio(*one, online=self.online, likelihood=self.likelihood) for one in seen)
        return MembershipScores(np.asarray(scores), float(self.queries))


class Answers(NamedTuple):
    """What the usable references of one attacker say about N records: moments IN and OUT, and of twins together.

    Attributes:
        inside: of the references trained on a record.
        outside: of the others.
        twins: how many complementary pairs there are; each has a record in one model and not in the other.
        product: sum over the pairs of (IN answer - IN mean) (OUT answer - OUT mean).
    """

    inside: Moments
    outside: Moments
    twins: int
    product: Row


class Predictive(NamedTuple):
    """Location and squared scale of the target's answer to each record if it is IN, if it is OUT; joint freedom."""

    mean_in: Row
    scale_in: Row
    mean_out: Row
    scale_out: Row
    freedom: Row


def predictive_ratio(
    phi: Float[np.ndarray, "T N"],
    references: Float[np.ndarray, "M N"],
    included: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "#T M"],
    *,
    online: bool = True,
    likelihood: Likelihood = "student_t",
) -> Float64[np.ndarray, "T N"]:
    """log p(phi | IN, references) - log p(phi | OUT, references) of N records for T targets.

    It does not change when every phi is shifted, or scaled, by one number.

    Args:
        phi: the logit of the true class's probability on the targets.
        references: the same on the references.
        included: which candidates each reference was trained on.
        usable: which references count for which target; one row where all targets may use the same.
        online: whether a record's own IN references count.
        likelihood: see the field of `BaVarIA`.
    """
    scores = np.empty(phi.shape)
    for start in range(0, len(usable), BLOCK):
        answers = _answers(references, included, usable[start : start + BLOCK])

        def one(row: int, answers: list[Answers] = answers, start: int = start) -> None:
            predictive = predict(answers[row]) if online else predict_offline(answers[row])
            targets = slice(start + row, start + row + 1) if len(usable) > 1 else slice(None)
            scores[targets] = log_ratio(phi[targets].astype(np.float64), predictive, likelihood)

        axis.each_model(one, range(len(answers)))
    return scores


def log_ratio(
    phi: Float64[np.ndarray, "T N"], predictive: Predictive, likelihood: Likelihood
) -> Float64[np.ndarray, "T N"]:
    """The logarithm of the ratio of the two predictive densities, made to rise with phi.

    Where the densities differ in width their ratio turns in a tail: an answer surer than even an IN one should be would
    speak for OUT. It is held at its extremes beyond the turning points: training does not make an answer less sure.
    """
    mean_in, scale_in, mean_out, scale_out, freedom = predictive
    if likelihood == "gaussian":
        variance = freedom / (freedom - 2)
        scale_in, scale_out, freedom = scale_in * variance, scale_out * variance, np.full_like(freedom, NORMAL)
    # The turning points lie at mean_in + x where d x^2 + b x = freedom scale_in d, d being mean_in - mean_out.
    d = np.maximum(mean_in - mean_out, RESOLUTION * np.sqrt(scale_in))
    mean_out = mean_in - d
    b = freedom * (scale_out - scale_in) + d**2
    root = np.abs(b) + np.sqrt(b**2 + 4 * d**2 * freedom * scale_in)
    above = np.where(b > 0, 2 * freedom * scale_in * d / root, root / (2 * d))
    phi = np.clip(phi, mean_in - freedom * scale_in / above, mean_in + above)
    square_in, square_out = (phi - mean_in) ** 2 / scale_in, (phi - mean_out) ** 2 / scale_out
    gain = np.log1p(square_out / freedom) - np.log1p(square_in / freedom)
    return 0.5 * np.log(scale_out / scale_in) + (freedom + 1) / 2 * gain


def predict(answers: Answers) -> Predictive:
    """The posterior predictive of a record's answer, IN and OUT.

    Model of record i: IN answers are normal round u_i + d_i / 2 with variance v_i g_in, OUT ones round u_i - d_i / 2
    with v_i g_out. The level u_i is free; d_i is normal round F with variance (k F)^2; v_i is inverse gamma (a, a).
    F, g_in and g_out are functions of the level, learnt as averages over the records of like level (F is not negative
    and falls with the level: what is hard is memorized); k and a are common.
    What a record's own few answers say about d_i and v_i is thus weighed against what holds for records like it.
    The answers of two references trained on complementary halves are not independent (what helps one is missing in the
    other, and they move apart): their covariance is learnt alike, else differences of means would look too certain.
    """
    (n_in, m_in, s_in), (n_out, m_out, s_out), twins, product = answers
    level, difference = (m_in + m_out) / 2, m_in - m_out
    over_level = Smoother.of(level)
    shift = over_level.falling(difference)
    deviation = (difference - shift) ** 2
    own = np.maximum(n_in - 1, 0), np.maximum(n_out - 1, 0)
    if own[0].any() and own[1].any():
        g_in, g_out = _noise(over_level, s_in, own[0]), _noise(over_level, s_out, own[1])
        common = over_level(product) / (twins - 1) if twins > 1 else np.zeros_like(level)
        common = np.clip(common, -np.sqrt(g_in * g_out), 0.0) * twins / (n_in * n_out)
        of_mean_in, of_mean_out = g_in / n_in, g_out / n_out
        noise = of_mean_in + of_mean_out - 2 * common
        excess = (
            over_level.median(deviation) / SQUARE_MEDIAN - noise
        )  # a few records with a huge d do not count for all
        weight = np.sum(shift**4)
        spread = max(float(np.sum(excess * shift**2) / weight), 0.0) * shift**2 if weight > 0 else 0.0 * shift
        squares, freedom = s_in / g_in + s_out / g_out, own[0] + own[1]
    else:  # one answer on a side has no variance: its noise is taken to be in proportion to the spread over records
        share = np.array([max(float(np.var(m)), RESOLUTION**2) for m in (m_in, m_out)])
        noise, common = _floored(over_level(deviation)), np.zeros_like(level)
        total = share[0] / n_in + share[1] / n_out
        g_in, g_out = noise * share[0] / total, noise * share[1] / total
        of_mean_in, of_mean_out, spread = g_in / n_in, g_out / n_out, np.zeros_like(level)
        squares, freedom = deviation / noise, np.ones_like(level)
    scale, freedom = _variance(squares, freedom)
    d = np.maximum(shift + spread / (spread + noise) * (difference - shift), 0.0)
    gap = (of_mean_in - of_mean_out) / 2  # covariance of the errors of level and difference
    u = level - gap / (spread + noise) * (difference - shift)
    # u given d is level - gap / noise * (difference - d), with the variance `rest`; d itself has the variance `of_d`.
    rest = np.maximum((of_mean_in + of_mean_out + 2 * common) / 4 - gap**2 / noise, 0.0)
    of_d = spread * noise / (spread + noise)
    left_in, left_out = rest + (gap / noise + 0.5) ** 2 * of_d, rest + (gap / noise - 0.5) ** 2 * of_d
    return Predictive(u + d / 2, scale * (g_in + left_in), u - d / 2, scale * (g_out + left_out), freedom)


def predict_offline(answers: Answers) -> Predictive:
    """The posterior predictive without a look at the record's own IN answers.

    Shift and IN variance as functions of the OUT mean are learnt on one half of the records and used on the other.
    """
    (n_in, m_in, s_in), (n_out, m_out, s_out), twins, product = answers
    half = np.arange(len(m_out)) % 2 == 0
    if not (n_in[half] > 0).any() or not (n_in[~half] > 0).any():
        raise NotApplicable(
            "the references were trained on no candidate, so what training does to an answer cannot be learnt from "
            "them: use LiRA(online=False), which does without"
        )
    own = np.maximum(n_out - 1, 0)
    over_level = Smoother.of(m_out)
    g_out = _noise(over_level, s_out, own)
    shift, v_in = np.empty_like(m_out), np.empty_like(m_out)
    for learn, use in ((half, ~half), (~half, half)):
        learn = learn & (n_in > 0)
        of = Smoother.of(m_out[learn])
        difference = m_in[learn] - m_out[learn]
        shift[use] = of.falling(difference, at=m_out[use])
        square = (difference - of.falling(difference)) ** 2 + s_in[learn] / n_in[learn]
        # A reference moves apart from its twin, which is in the OUT mean; a target's twin is not.
        common = (
            np.minimum(product[learn] * twins / ((twins - 1) * n_in[learn] * n_out[learn]), 0) if twins > 1 else 0.0
        )
        v_in[use] = of(square + 2 * common, at=m_out[use])
    scale, freedom = _variance(s_out / g_out, own)
    v_in = np.maximum(v_in, FLOOR**2 * g_out)
    return Predictive(m_out + shift, scale * v_in, m_out, scale * g_out * (1 + 1 / n_out), freedom)


def _noise(over_level: Smoother, squares: Row, freedom: Row) -> Row:
    """The variance round a record's own mean as a function of the level; the common one where a group has none."""
    common = squares.sum() / freedom.sum()
    return _floored((over_level(squares) + 1e-3 * common) / (over_level(freedom) + 1e-3))


def _floored(variance: Row) -> Row:
    return np.maximum(variance, max(FLOOR**2 * float(variance.mean()), RESOLUTION**2))


def _variance(squares: Row, freedom: Row) -> tuple[Row, Row]:
    """The scale of each record's variance and its degrees of freedom under an inverse-gamma prior (a, a).

    `squares` are v_i times a chi-square of `freedom`; a is such that the logarithms of squares / freedom vary over the
    records as they do: trigamma(freedom / 2) + trigamma(a).
    """
    known = freedom > 0
    logs = np.log(np.maximum(squares[known] / freedom[known], 1e-12))
    times = np.bincount(freedom[known].astype(int))  # degrees of freedom are whole numbers, and few
    expected = polygamma(1, np.maximum(np.arange(len(times)), 1) / 2) @ times / times.sum()
    excess = float(np.var(logs) - expected)
    a = float(np.interp(excess, polygamma(1, WEIGHTS)[::-1], WEIGHTS[::-1]))
    return (a + squares / 2) / (a + freedom / 2), 2 * a + freedom


def _answers(
    references: Float[np.ndarray, "M N"], included: Bool[np.ndarray, "M N"], usable: Bool[np.ndarray, "B M"]
) -> list[Answers]:
    """What each row of `usable` lets an attacker know; the temporary arrays are those of a chunk of records."""
    pairs = complements(included, usable)
    distinct = sorted({pair for own in pairs for pair in own})
    taken = np.array([[pair in own for pair in distinct] for own in map(set, pairs)], np.float64)
    first, second = np.array(distinct, int).reshape(-1, 2).T
    found = np.empty((2 * len(Moments._fields) + 1, len(usable), references.shape[1]))
    for n in chunks(references.shape[1]):
        known, was_in = references[:, n], included[:, n]
        inside, outside = (moments(known, chosen, usable) for chosen in (was_in, ~was_in))
        center = known.mean(axis=0, dtype=np.float64)
        answers = known.astype(np.float64) - center
        of_in = np.where(was_in[first], answers[first], answers[second])
        of_out = answers[first] + answers[second] - of_in
        # The sum of (IN answer - IN mean) (OUT answer - OUT mean), for all attackers by three matrix products.
        mean_in, mean_out = inside.mean - center, outside.mean - center
        product = taken @ (of_in * of_out) - mean_in * (taken @ of_out) - mean_out * (taken @ of_in)
        product += taken.sum(axis=1, keepdims=True) * mean_in * mean_out
        for part, into in zip((*inside, *outside, product), found, strict=True):
            into[:, n] = part
    return [
        Answers(Moments(*found[:3, row]), Moments(*found[3:6, row]), len(twins), found[6, row])
        for row, twins in enumerate(pairs)
    ]
