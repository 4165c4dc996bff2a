"""What an attack hands over. Only `measures` sees it together with the truth."""

from __future__ import annotations

from typing import NamedTuple

from privsec.core.data import Array
from privsec.core.recipe import Model, Params


class MembershipScores(NamedTuple):
    """How strongly each candidate looks like a member of each target's training set.

    Attributes:
        scores: float64 [T, N]; higher = more likely a member; NaN = this candidate was not attacked (a query budget).
        queries: model queries spent per attacked candidate and target, a mean; those on the attacker's own population,
            which serve all candidates alike, are not counted.
    """

    scores: Array
    queries: float = 1.0


class Reconstructions(NamedTuple):
    """Inputs rebuilt from the model, one for each of K prompts (a class, a person), for each of T targets.

    Attributes:
        x: float32 [T, K, ...features], inside the data's box.
        y: int32 [K], the class each one is meant to show; [T, K] where it was restored from each target's gradients.
        confidence: float32 [T, K]: the target's own probability of `y` at `x`; 1 or 0 for whether it calls `x` so
            where labels are all there is; of records rebuilt from a gradient, the cosine of theirs with the observed.
        queries: model queries (a gradient counts as one) spent per reconstruction, a mean.
    """

    x: Array
    y: Array
    confidence: Array
    queries: float | Array


ANY = -1
"""The goal of an attack that takes any wrong class."""


class Perturbed(NamedTuple):
    """N records changed so that each of T targets errs on them.

    Whether a point is a success is not the attack's to say: the measures ask the target again.

    Attributes:
        x: float32 [T, N, ...features]: the changed record; the clean one where nothing was found.
        y: int32 [N]: the true classes, as the attacker knows them.
        goal: int32 [N]: the class that each is to be taken for; `ANY` for any but `y`.
        rows: int32 [N]: which of the attacker's points these are.
        queries: float [T, N]: answers asked for (forward passes), per point.
        gradients: float [T, N]: gradients evaluated, per point.
        naive: float32 [T, N, ...features]: what the same attack finds when it does not know of the model's defense;
            None where there is no defense to know of.
    """

    x: Array
    y: Array
    goal: Array
    rows: Array
    queries: Array
    gradients: Array
    naive: Array | None = None


class Predictions(NamedTuple):
    """What a hidden attribute of K records is guessed to be, from each of T targets.

    Attributes:
        scores: float64 [T, K, V]: how plausible each of the V values is; higher = more.
        imputed: float64 [K, V]: the same without the target, from the attacker's own records alone: the null.
        queries: model queries per record, a mean.
    """

    scores: Array
    imputed: Array
    queries: float


class Program(NamedTuple):
    """An input pattern and a label map that make each of T targets do another task with G classes.

    A task's record is embedded in the target's input (`ops/reprogram.py`), and P(task class g) is the sum over source
    classes c of P(c) * mapping[c, g].

    Attributes:
        pattern: float32 [T, ...features]: what is added to the embedded record, zero where that stands.
        mapping: float32 [T, C, G].
        side: height and width that a task's image is resized to before it is embedded.
        queries: model queries per target, a mean (a gradient counts as one).
    """

    pattern: Array
    mapping: Array
    side: int
    queries: float


class StolenModel(NamedTuple):
    """Students trained on the answers of each of T targets, at Q query budgets.

    Attributes:
        model: the student's architecture.
        params: leaves [T, Q, ...].
        null: leaves [T, Q, ...]: the same student trained on the same inputs without the target's answers.
        budgets: int [Q]: records asked about, rising.
    """

    model: Model
    params: Params
    null: Params
    budgets: Array


class Triggered(NamedTuple):
    """Test records as each of T poisoned targets is asked about them: with the trigger, where there is one.

    Whether a target falls for them is not the attack's to say: the measures ask it, and a target without the poison.

    Attributes:
        x: float32 [T, N, ...features].
        y: int32 [T, N]: the true classes.
        goal: int32 [T, N]: the class that each is to be taken for; `ANY` for any but `y`.
        rows: int32 [T, N]: which of the attacker's points these are.
    """

    x: Array
    y: Array
    goal: Array
    rows: Array


Evidence = MembershipScores | Reconstructions | Perturbed | Predictions | Program | StolenModel | Triggered
