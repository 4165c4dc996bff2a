"""One training, audited in one run: canaries by fair coins, what the attacker sees of them, and what that proves.

The training under audit is the one that a config describes, with its own sampling, clipping and noise; the audit puts
canaries into its data and looks at what comes out. A bound above the claimed epsilon contradicts the implementation (or
one in 1 / alpha happened). A bound below it proves nothing.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np

from privsec.auditor import canary_run
from privsec.auditor.canary_run import Access, CanaryRun
from privsec.core import keys
from privsec.core.data import Array, Examples
from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError, did_you_mean
from privsec.core.recipe import DPEvent, Model, Recipe
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.privacy import accounting
from privsec.privacy.bound import ranked, stream
from privsec.privacy.lower_bounds import LowerBound, all_bounds, f_dp_one_run, strongest
from privsec.runner.config import Experiment, load
from privsec.runner.plan import Bank, Claim
from privsec.runner.world import World

Kind = Literal["mislabeled", "blank", "out_of_distribution", "gradient"]
SUREST = 0.02
"""Share of the canaries that the one-sided test guesses to be in."""
CROWDED = 0.25
"""Canaries beyond this share of the records a model is trained on are warned of."""


@dataclass(frozen=True)
class TrainingAudit:
    """What one training showed of its canaries.

    Attributes:
        title: what was trained.
        kind, access: of the canaries, and what the attacker saw.
        coins: bool [m], which canaries were trained on.
        scores: statistic -> float64 [m], higher = more likely in; fixed before the coins were tossed.
        event: the training as the accountant sees it, None where nothing is claimed.
        claim: its epsilon at `delta`, None where nothing is claimed.
        shown: the strongest of the tests that were made, corrected for their number: a bound at its `alpha`.
        statistic: the name of the scores that `shown` comes from.
        accuracy: of the trained model on records it never saw; NaN where there were none.
        seconds: of the training and of the whole.
        warnings: what a reader must know before using the number.
    """

    title: str
    kind: Kind
    access: Access
    coins: np.ndarray
    scores: dict[str, np.ndarray]
    event: DPEvent | None
    claim: Claim | None
    shown: LowerBound
    statistic: str
    accuracy: float
    seconds: dict[str, float]
    warnings: tuple[str, ...]

    @property
    def contradicted(self) -> bool:
        """Whether more epsilon was shown than the training claims: its implementation is not what it claims to be."""
        return self.claim is not None and self.shown.estimate.value > self.claim.epsilon

    @functools.cached_property
    def bounds(self) -> tuple[LowerBound, ...]:
        """Every bound by the scores of `statistic`, each at alpha by itself: to be read, not to be chosen from."""
        delta, alpha = self.shown.delta, self.shown.alpha
        scores = self.scores[self.statistic]
        return all_bounds(scores, self.coins, delta=delta, alpha=alpha, design="fair_coins", event=self.event)

    @property
    def verdict(self) -> str:
        """The outcome in a sentence."""
        shown, delta = self.shown.estimate.value, self.shown.delta
        if self.claim is None:
            return f"No guarantee is claimed; the canaries show epsilon >= {shown:.2f} at delta {delta:g}."
        claimed = f"epsilon {self.claim.epsilon:.2f} at delta {delta:g}"
        if self.contradicted:
            return f"CONTRADICTED: {claimed} is claimed, and the canaries show at least {shown:.2f}."
        return f"Not contradicted: {claimed} is claimed, and the canaries show {shown:.2f} or more; that is no proof."


def audit_training(
    experiment: str | Path | dict[str, Any] | Experiment,
    *,
    defense: str,
    canaries: int = 1000,
    kind: Kind = "mislabeled",
    access: Access = "black-box",
    seed: int = 0,
    delta: float | None = None,
    alpha: float = 0.05,
) -> TrainingAudit:
    """Trains one model of an experiment with canaries in its data, and tells how much epsilon they show.

    Args:
        experiment: a config file, its values, or an Experiment.
        defense: which of its defenses; output defenses are no part of the training and are left out.
        canaries: m; about half of them are trained on.
        kind: see `privsec.data.canaries.plant` and, for `"gradient"`, `privsec.training.dirac`.
        access: `"black-box"`: the final model's answers; `"white-box"`: those, and every privatized gradient with the
            parameters it was taken at.
        seed: fixes records, canaries, coins and training.
        delta: of the bound and of the claim; by default DP-SGD's own, else 1e-5.
        alpha: accepted P(the shown epsilon exceeds the true one), hence of contradicting a right implementation.

    Raises:
        ConfigError: a wrong config; no such defense; canaries that cannot be seen with this access.
        DataError: too few records for these canaries.

    References: Steinke et al. 2023, arXiv 2305.08846; Nasr et al. 2023, arXiv 2302.07956.
    """
    made = load(experiment)
    if defense not in made.defenses:
        names = ", ".join(made.defenses)
        raise ConfigError(f"no defense is called {defense!r}; the config has {names}.{did_you_mean(defense, names)}")
    training = tuple(d for d in made.defenses[defense] if isinstance(d, TrainingDefense))
    bank = Bank(made, "", seed, training)
    own = next((d.delta for d in training if isinstance(d, DPSGD)), 1e-5)
    made.net.check((dataset := made.data.load()).shape)
    world = World.of(made, dataset, seed)
    audit = audit_recipe(
        world.model,
        bank.recipe,
        world.candidates,
        canaries=canaries,
        kind=kind,
        access=access,
        key=keys.derive(world.root, "audit"),
        delta=own if delta is None else delta,
        alpha=alpha,
        box=world.box,
        holdout=world.holdout,
        title=f"{made.title}: {defense}",
    )
    left_out = [d.name for d in made.defenses[defense] if d not in training]  # type: ignore[attr-defined]
    if left_out:
        note = f"{', '.join(left_out)}: acts on the served model's answers, not on the training, and was left out."
        audit = replace(audit, warnings=(*audit.warnings, note))
    return audit


def audit_recipe(
    model: Model,
    recipe: Recipe,
    data: Examples,
    *,
    canaries: int = 1000,
    kind: Kind = "mislabeled",
    access: Access = "black-box",
    key: jax.Array,
    delta: float = 1e-5,
    alpha: float = 0.05,
    box: tuple[Array, Array] | None = None,
    holdout: Examples | None = None,
    title: str = "a training",
) -> TrainingAudit:
    """`audit_training` of any Recipe: one's own sampling, gradient or optimizer, with what `recipe.dp_event` claims.

    Args:
        model: the architecture.
        recipe: the training under audit. With canaries in their places, `recipe.records` records are trained on in the
            mean (gradient canaries come on top: they leave the others' gradients alone).
        data: ordinary records to draw from: `recipe.records`, and half as many again as there are mislabeled canaries.
        canaries: as in `audit_training`.
        kind: as in `audit_training`.
        access: as in `audit_training`.
        key: consumed here.
        delta: of the bound and of the claim.
        alpha: as in `audit_training`.
        box: smallest and largest value of each feature, for canaries that are made up; by default those of `data`.
        holdout: records that nothing is trained on, for early stopping and accuracy.
        title: what is trained.

    Raises:
        ConfigError: canaries that cannot be seen with this access, an argument out of range.
        DataError: too few records for these canaries.
    """
    start = time.perf_counter()
    if kind not in get_args(Kind) or access not in get_args(Access):
        allowed = f"{', '.join(get_args(Kind))}; access: {', '.join(get_args(Access))}"
        hint = did_you_mean(kind, get_args(Kind)) or did_you_mean(access, get_args(Access))
        raise ConfigError(f"canaries {kind!r} seen {access!r} do not exist.{hint} Kinds: {allowed}.")
    if kind == "gradient":
        if access == "black-box":
            raise ConfigError("gradient canaries leave no trace in a model's answers: audit them with white-box access")
        run = canary_run.with_gradients(model, recipe, data, canaries, key, holdout)
    else:
        run = canary_run.with_records(model, recipe, data, canaries, kind, access, key, box, holdout)
    seconds = {"training": round(time.perf_counter() - start, 3)}
    event = recipe.dp_event
    claim = Claim(accounting.epsilon(event, delta), delta) if event is not None else None
    statistic, shown = _strongest(run, event, delta, alpha)
    seconds["all"] = round(time.perf_counter() - start, 3)
    return TrainingAudit(
        title=title,
        kind=kind,
        access=access,
        coins=run.coins,
        scores=run.scores,
        event=event,
        claim=claim,
        shown=shown,
        statistic=statistic,
        accuracy=run.accuracy,
        seconds=seconds,
        warnings=tuple(_warnings(recipe, kind, canaries, claim, shown)),
    )


def _strongest(run: CanaryRun, event: DPEvent | None, delta: float, alpha: float) -> tuple[str, LowerBound]:
    """The statistic that shows most, and its bound: two tests for each statistic share alpha.

    One guesses at both ends of the ranking; the other only at the surest, because where steps draw few records, or the
    same ones again and again, most canaries that are in leave no trace, and those that are out look no different.
    """
    each = alpha / (2 * len(run.scores))
    tests = []
    for name, scores in run.scores.items():
        tests.append((name, strongest(scores, run.coins, delta=delta, alpha=each, design="fair_coins", event=event)))
        tests.append((name, _of_surest(scores, run.coins, delta, each)))
    name, best = max(tests, key=lambda test: test[1].estimate.value)
    return name, best._replace(alpha=alpha, ceiling=max(bound.ceiling for _, bound in tests))


def _of_surest(scores: np.ndarray, coins: np.ndarray, delta: float, alpha: float) -> LowerBound:
    """The bound from guessing that the highest `SUREST` of the scores are in, and nothing of the others."""
    guesses = math.ceil(SUREST * len(scores))
    right = int(ranked(scores, coins, stream(0), coins="fair_coins")[:guesses].sum())
    bound = f_dp_one_run(
        right, guesses, len(scores), delta=delta, alpha=alpha, family="approximate_dp", design="fair_coins"
    )
    return bound._replace(title=f"f-DP in one training run, any mechanism, the surest {SUREST:.0%} only")


def _warnings(recipe: Recipe, kind: Kind, count: int, claim: Claim | None, shown: LowerBound):
    share = count / 2 / recipe.records
    if kind != "gradient" and share > CROWDED:
        yield (
            f"canaries are {share:.0%} of the records trained on: the audited model is less accurate than the one it "
            "stands for."
        )
    if claim is not None and shown.ceiling <= claim.epsilon:
        yield (
            f"{count} canaries can show epsilon {shown.ceiling:.2f} at most, and {claim.epsilon:.2f} is claimed: this "
            "audit cannot contradict it. Plant more canaries."
        )
    if claim is None:
        yield "the training claims no guarantee: nothing can be contradicted."
