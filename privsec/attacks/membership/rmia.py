"""RMIA: whether the target prefers this record to a random one more than other models do.

References:
    Zarifzadeh, Liu, Shokri 2024, "Low-cost high-power membership inference attacks", arXiv 2312.03262.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field

from privsec.attacks.membership import shadows
from privsec.core import axis
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.errors import NotApplicable
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.measures.roc import auc
from privsec.ops.leave_out import chunks, counts, log_mean_exp

SHARES = tuple(round(0.1 * step, 1) for step in range(11))
"""The values of `a` that are tried."""
TEMPERATURES = (1.0, 2.0, 4.0)
"""The temperatures that are tried."""
JUDGES = 4
"""How many references are attacked to choose the temperature and `a`."""
SAMPLE = 8192
"""On how many candidates, at most."""


class RMIA(Attack):
    """The robust membership-inference attack: pairwise likelihood ratios against a population."""

    name: Literal["rmia"] = "rmia"
    online: bool = True
    """Whether the attacker has references trained on the candidates. Offline infers them from OUT ones and `a`."""
    gamma: float = Field(default=2.0, gt=0)
    """How many times larger than a population record's the likelihood ratio must be."""
    a: float | None = Field(default=None, ge=0, le=1)
    """Offline: p_in is taken for a p_out + (1 - a). None chooses it by attacking references, with known members."""

    temperature: float | None = Field(default=None, gt=0)
    """p is sigmoid(margin / temperature). At 1 it is the model's own probability of the true class, where references
    sure of a record all say 1 and nothing is left to compare. None chooses it as `a` is chosen, and takes 1 where there
    are too few references to attack one with the others."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "population", "references"})
    paper: ClassVar[str] = "Zarifzadeh et al. 2024, arXiv 2312.03262"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        del key
        population = shadows.population_of(knowledge)
        seen = shadows.observe(target, knowledge, "margin", inside=int(self.online), outside=1)
        assert knowledge.references is not None
        of_population = [models.observe(population, "margin") for models in (target, knowledge.references)]
        temperature, a = self._chosen(seen)
        scores = np.empty(seen.target.shape)
        for t in np.unique(temperature):
            mine = temperature == t  # targets whose attackers chose alike share the references' probabilities
            usable = np.broadcast_to(seen.usable, (len(temperature), len(seen.included)))[mine]
            sought = seen.target[mine]
            ratio = np.empty(sought.shape)
            for rows in chunks(seen.target.shape[1]):
                log_p, known = (log_probability(of[:, rows], t) for of in (sought, seen.references))
                ratio[:, rows] = log_ratio(
                    log_p, known, seen.included[:, rows], usable, a=None if self.online else a[mine]
                )
            log_pz, known_z = (log_probability(margin, t) for margin in (of_population[0][mine], of_population[1]))
            beaten = population_log_ratio(log_pz, known_z, usable)
            scores[mine] = preferred_share(ratio, beaten, self.gamma)
        return MembershipScores(scores)

    def _chosen(self, seen: shadows.Shadows) -> tuple[Float64[np.ndarray, " T"], Float64[np.ndarray, " T"]]:
        """The temperature and `a` of each target's attacker; `a` is NaN online."""
        temperatures = TEMPERATURES if self.temperature is None else (self.temperature,)
        shares = (None,) if self.online else SHARES if self.a is None else (self.a,)
        settings = [(t, a) for t in temperatures for a in shares]
        if len(settings) == 1:
            chosen = np.array([settings[0]] * len(seen.target), np.float64)
        else:
            chosen = choose(seen.references, seen.included, seen.usable, settings)
        return tuple(np.broadcast_to(chosen, (len(seen.target), 2)).T)


def log_probability(margin: Float[np.ndarray, " *shape"], temperature: float) -> Float64[np.ndarray, " *shape"]:
    """The log of sigmoid(margin / temperature); at temperature 1 the log-probability of the true class."""
    logit = margin.astype(np.float64)
    logit /= temperature
    rest = np.abs(logit, out=np.empty_like(logit))
    np.negative(rest, out=rest)
    np.log1p(np.exp(rest, out=rest), out=rest)  # in place: np.logaddexp takes five times as long
    np.minimum(logit, 0.0, out=logit)
    logit -= rest
    return logit


def log_ratio(
    log_p: Float[np.ndarray, "T N"],
    references: Float[np.ndarray, "M N"],
    included: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "#T M"],
    *,
    a: Float[np.ndarray, " #T"] | None = None,
) -> Float64[np.ndarray, "T N"]:
    """The log-ratio log r(x) = log p(x | target) - log p_hat(x).

    Online p_hat is the mean of the IN mean and the OUT mean, whatever their numbers. Offline the IN mean is unknown and
    taken to be a mean_out + (1 - a), hence p_hat = ((1 + a) mean_out + (1 - a)) / 2.

    Args:
        log_p: log-probability of the true class on the targets.
        references: the same on the references.
        included: which candidates each reference was trained on.
        usable: which references count for which target; one row where all targets may use the same.
        a: for offline, None for online.
    """
    outside = log_mean_exp(references, ~included, usable)
    if a is not None:
        return log_p - _offline(outside, a[:, None])
    return log_p - _balanced(outside, log_mean_exp(references, included, usable))


def population_log_ratio(
    log_p: Float[np.ndarray, "T Z"], references: Float[np.ndarray, "M Z"], usable: Bool[np.ndarray, "#T M"]
) -> Float64[np.ndarray, "T Z"]:
    """The log-ratio log r(z) of population records.

    No model was trained on z: every reference is OUT, as the target is, and p_hat(z) is their plain mean, online and
    offline.
    """
    return np.asarray(log_p, np.float64) - log_mean_exp(references, np.ones(references.shape, bool), usable)


def preferred_share(
    log_ratio: Float[np.ndarray, "T N"], population: Float[np.ndarray, "T Z"], gamma: float
) -> Float64[np.ndarray, "T N"]:
    """The share of population records z with r(x) >= gamma r(z): the empirical distribution of r(z) at r(x) / gamma.

    Records preferred to equally many z are ordered by r(x).

    Args:
        log_ratio: log r(x).
        population: log r(z).
        gamma: how many times r(z) is to be outdone.

    Returns:
        Scores in (0, 1).
    """
    beaten = shadows.outdone(log_ratio - np.log(gamma), population, "right")
    return shadows.break_ties(beaten, log_ratio, population.shape[1])


def choose(
    margins: Float[np.ndarray, "M N"],
    included: Bool[np.ndarray, "M N"],
    usable: Bool[np.ndarray, "T M"],
    settings: Sequence[tuple[float, float | None]],
) -> Float64[np.ndarray, "T 2"]:
    """The setting with which each target's attacker tells members of *references* best, by AUC.

    A reference that plays the target is attacked with the usable references other than itself and its complementary
    twin. Nothing about the target is read.

    Args:
        margins: of the references.
        included: which candidates each reference was trained on.
        usable: which references count for which target; one row (and then one answer) where all may use the same.
        settings: (temperature, a) pairs to choose from; `a` is None in all of them for the online attack.

    Returns:
        Temperature and `a`; NaN for None. Where there are too few references to attack one
        with the others, the first setting, if all have the same `a`.

    Raises:
        NotApplicable: there are too few references to choose `a`.
    """
    some = np.linspace(0, margins.shape[1] - 1, min(SAMPLE, margins.shape[1])).astype(int)
    margins, included = margins[:, some], included[:, some]
    rows, which = np.unique(usable, axis=0, return_inverse=True)
    panels = Panels.of(included, rows, online=settings[0][1] is None)
    if len({a for _, a in settings}) > 1 and not panels.enough.any(axis=1).all():
        raise NotApplicable(
            "too few references to choose `a` by attacking one with the others: train more, or state `a` (0.3, say)"
        )
    of_temperature = {t: [a for other, a in settings if other == t] for t, _ in settings}
    tried = [(t, a) for t, shares in of_temperature.items() for a in shares]
    quality = [panels.quality(log_probability(margins, t), included, shares) for t, shares in of_temperature.items()]
    best = np.argmax(np.concatenate(quality, axis=1), axis=1)
    return np.array(tried, np.float64)[best][which.reshape(-1)]


class Panels(NamedTuple):
    """For each of R attackers, the references that play the target, and with which others each is attacked.

    Attributes:
        judges: these references, one attacker's after the other's.
        helpers: the references usable against each: not itself, nor its complementary twin.
        starts: where each attacker's judges start, and the end.
        enough: on which candidates there are helpers enough against all of an attacker's judges.
        online: whether helpers trained on a candidate are needed, too.
    """

    judges: Int[np.ndarray, " J"]
    helpers: Bool[np.ndarray, "J M"]
    starts: Int[np.ndarray, " R+1"]
    enough: Bool[np.ndarray, "R N"]
    online: bool

    @classmethod
    def of(cls, included: Bool[np.ndarray, "M N"], usable: Bool[np.ndarray, "R M"], *, online: bool) -> Panels:
        """`JUDGES` of each attacker's usable references, evenly spread."""
        mine = [np.flatnonzero(allowed) for allowed in usable]
        panels = [own[np.unique(np.linspace(0, len(own) - 1, JUDGES).astype(int))] for own in mine]
        sizes, judges = [len(panel) for panel in panels], np.concatenate(panels)
        starts = np.cumsum([0, *sizes])
        distinct, which = np.unique(judges, return_inverse=True)
        others = np.stack([(included == included[judge]).any(axis=1) for judge in distinct])  # no twin agrees anywhere
        others[np.arange(len(distinct)), distinct] = False
        helpers = np.repeat(usable, sizes, axis=0) & others[which]
        enough = counts(~included, helpers) >= 1
        if online:
            enough &= counts(included, helpers) >= 1
        return cls(judges, helpers, starts, np.logical_and.reduceat(enough, starts[:-1]), online)

    def quality(
        self, log_p: Float64[np.ndarray, "M N"], included: Bool[np.ndarray, "M N"], shares: Sequence[float | None]
    ) -> Float64[np.ndarray, "R S"]:
        """The mean AUC of each attacker against its judges, with each `a`; -1 where none can be attacked."""
        outside = log_mean_exp(log_p, ~included, self.helpers)
        inside = log_mean_exp(log_p, included, self.helpers) if self.online else None
        found = np.full((len(self.enough), len(shares)), -1.0)

        def of_attacker(r: int) -> None:
            panel, known = slice(self.starts[r], self.starts[r + 1]), self.enough[r]
            own, out, member = (
                of[:, known] for of in (log_p[self.judges[panel]], outside[panel], included[self.judges[panel]])
            )
            for s, a in enumerate(shares):
                expected = (
                    _offline(out, np.full((1, 1), a)) if inside is None else _balanced(out, inside[panel][:, known])
                )
                ratio = (own - expected).astype(np.float32)  # sorted in half of the time
                found[r, s] = np.mean([auc(*one) for one in zip(ratio, member, strict=True)])

        axis.each_model(of_attacker, np.flatnonzero(self.enough.any(axis=1)).tolist())
        return found


def _balanced(log_out: Float64[np.ndarray, "T N"], log_in: Float64[np.ndarray, "#T #N"]) -> Float64[np.ndarray, "T N"]:
    high, low = np.maximum(log_in, log_out), np.minimum(log_in, log_out)
    gap = np.subtract(low, high, out=np.full(high.shape, -np.inf), where=low > -np.inf)
    return high + np.log1p(np.exp(gap)) - np.log(2.0)


def _offline(log_out: Float64[np.ndarray, "#T N"], a: Float[np.ndarray, "#T 1"]) -> Float64[np.ndarray, "_ N"]:
    with np.errstate(divide="ignore"):
        return _balanced(np.log1p(a) + log_out, np.log1p(-a))
