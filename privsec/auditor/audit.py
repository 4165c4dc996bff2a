"""An audit: does this model give away who was in its training data, and how surely is that known?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from privsec.auditor import answers, attacking, references
from privsec.auditor.claims import read_claim
from privsec.auditor.findings import Found, record_of
from privsec.auditor.judged import Statistics, Units
from privsec.auditor.policy import Policy, check_names, read_policy
from privsec.auditor.policy import judged as ruled
from privsec.auditor.pool import Pool, as_features, classes, digests, pooled
from privsec.auditor.record import Caution
from privsec.auditor.references import References, Train
from privsec.auditor.result import Audit
from privsec.auditor.sides import What, both_sides, side_of, with_parts
from privsec.core.attack import Attack, Knowledge
from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.target import Target
from privsec.privacy.bound import check
from privsec.privacy.lower_bounds import Design
from privsec.runner.progress import Narrator

Pair = Sequence[Any]
"""(of the members, of the non-members), one entry a record each."""


def audit(
    members: Any,
    non_members: Any = None,
    *,
    target: Target | None = None,
    what: What | None = None,
    labels: Pair | None = None,
    groups: Pair | None = None,
    slices: Mapping[str, Pair] | None = None,
    identifiers: Pair | None = None,
    features: Pair | None = None,
    member_column: str = "member",
    attacks: Sequence[Attack | dict | str] | None = None,
    population: Any = None,
    references: tuple[Target, Any] | None = None,
    train: Train | None = None,
    shadows: int = 16,
    claim: Any = None,
    delta: float = 1e-5,
    design: Design = "records",
    policy: Any = None,
    fail_if: Sequence[str] = (),
    alpha: float = 0.05,
    seed: int = 0,
    title: str = "",
    narrator: Narrator | None = None,
) -> Audit:
    """Audits one model, or just its scores, for membership inference.

    Args:
        members: records the model was trained on. Without `target`: their scores [N] or answers [N, C], as an array, a
            table or a file (.npy, .npz, .csv, .parquet; see `sides`). With `target`: Examples, (x, y), or a file.
        non_members: the same of records from the same source that it was not trained on; None where `members` is a
            table of both.
        target: the model, to be asked and attacked.
        what: what bare numbers are; None takes a column's name, and numbers without a name for scores (higher = more
            likely a member).
        labels: the records' classes; needed for logits and probabilities.
        groups: whom each record belongs to: the records of one person are then judged together.
        slices: attribute -> its values, to split results by.
        identifiers: the records' own names, for the list of those at risk; equal names on both sides are duplicates.
        features: the records, where only scores are audited: for the blind baseline and to find duplicates.
        member_column: which column of a table of both sides says 1 for a member.
        attacks: Specs, their JSON or names; by default every applicable one of sensible cost.
        population: records known to be in nobody's training data and not audited; some attacks need them.
        references: a stack of models like the audited one, and bool [M, N]: which records, members first, each was
            trained on.
        train: instead of those, (x, y, seed) -> a model trained on these records as the audited one was on its own.
        shadows: how many of them.
        claim: the guarantee that is claimed: (epsilon, delta), a DPEvent, or anything with `epsilon` and `delta`.
        delta: at which epsilon is shown, where nothing is claimed.
        design: how members and non-members came about; decides which bounds are proofs.
        policy: thresholds: a YAML file or its values.
        fail_if: more of them, such as `"epsilon_lower > 8"`.
        alpha: the chance of a false alarm that is accepted over all attacks together.
        seed: of everything that is drawn.
        title: heads the page.
        narrator: shows progress; by default on stderr where that is a terminal.

    Returns:
        The Audit: `.verdict`, `.passed`, `.table`, `.record`, `.save(folder)`, `.report(path)`.

    Raises:
        ConfigError: wrong settings or policy; nothing was computed.
        DataError: records or scores that cannot be audited; the text says why.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> found = audit(rng.normal(1, 1, 500), rng.normal(0, 1, 500), fail_if=["auc_high >= 0.6"])
    >>> found.verdict.level, found.passed
    ('leak_shown', False)
    """
    rules, claimed = read_policy(policy, fail_if), read_claim(claim, delta)
    by = Statistics(alpha, claimed.delta if claimed else delta, design, claimed.event if claimed else None)
    check(by.delta, by.alpha, by.design)
    if target is None and any(given is not None for given in (attacks, population, references, train)):
        raise ConfigError(
            "attacks, population, references and train are for a model that can be asked: pass it as `target`. Scores "
            "are audited as they are."
        )
    if references is not None and train is not None:
        raise ConfigError("give references, or a function to train them, not both")
    if target is not None and target.size not in (None, 1):
        raise ConfigError(f"an audit is about one model, and the target is a stack of {target.size}: pass target[0]")
    start = time.perf_counter()
    both = both_sides(members, non_members, records=target is not None, what=what, member_column=member_column)
    both = with_parts(both, slices=slices, labels=labels, groups=groups, identifiers=identifiers, x=features)
    many = both[0].values is not None and both[0].values.ndim == 2
    num_classes = target.model.num_classes if target else both[0].values.shape[1] if many else None  # type: ignore[union-attr]
    pool, said = pooled(*both, seed, num_classes=num_classes, drawn=design != "records")
    units = Units.records(pool, "canaries" if design == "fair_coins" else "records")
    units = units if pool.side.groups is None else Units.groups(pool)
    with narrator or Narrator() as shown:
        if target is None:
            found = _of_numbers(pool, rules, seed, shown)
        else:
            known = _Known(attacks, population, references, train, shadows, rules)
            found = _of_target(target, pool, known, seed, shown)
    record = record_of(pool, units, found, by, claimed, said, seed, title, time.perf_counter() - start)
    return Audit(record.model_copy(update={"policy": ruled(rules, record)}))


class _Known(NamedTuple):
    """What the attacker on a model is given, as it was passed."""

    attacks: Sequence[Attack | dict | str] | None
    population: Any
    references: tuple[Target, Any] | None
    train: Train | None
    shadows: int
    rules: Policy


def _of_numbers(pool: Pool, rules: Policy, seed: int, narrator: Narrator) -> Found:
    """Attacks on numbers that the model has already given."""
    answers.checked(pool)
    what = pool.side.what
    assert what is not None
    if what in ("score", "loss", "confidence"):
        outcome = attacking.given_scores(answers.scores_of(pool), what)
        check_names(rules, [outcome.title, outcome.name])
        said = answers.resolution(what, outcome.scores)  # type: ignore[arg-type]
        return Found("scores", f"given {what} values", [outcome], said, given=what)
    target, examples = answers.repeated(pool)
    attacks = attacking.looking_once()
    check_names(rules, [name for attack in attacks for name in (attack.title, attack.name)])  # type: ignore[attr-defined]
    knowledge = Knowledge(target.model.num_classes, examples)
    correct, outcomes = attacking.attacked(attacks, target, knowledge, seed, narrator)
    said = answers.resolution(what, target.observe(examples, "margin")[0])
    return Found("scores", f"given {what}", outcomes, said, correct)


def _of_target(target: Target, pool: Pool, known: _Known, seed: int, narrator: Narrator) -> Found:
    """Attacks on a model that can be asked."""
    others = known.references is not None or known.train is not None
    attacks = attacking.chosen(known.attacks, target.grants, references=others)
    check_names(known.rules, [name for attack in attacks for name in (attack.title, attack.name)])  # type: ignore[attr-defined]
    attacking.check_shape(target, pool.side.x)
    before, candidates = target.spent, pool.examples
    population, said = _population(known.population, pool, target)
    made: References | None = None
    if known.references is not None:
        made, more = references.given(known.references, pool, target)
        said += more
    elif known.train is not None:
        made = references.trained(known.train, pool, known.shadows, seed, target, narrator)
    x = np.asarray(candidates.x) if population is None else np.concatenate([candidates.x, population.x])
    knowledge = Knowledge(
        num_classes=target.model.num_classes,
        candidates=candidates,
        population=population,
        references=made.models if made else None,
        included=made.included if made else None,
        box=(x.min(axis=0), x.max(axis=0)),
    )
    correct, outcomes = attacking.attacked(attacks, target, knowledge, seed, narrator)
    return Found(
        "model",
        f"a model with {target.model.num_classes} classes, audited with {target.grants.title} access",
        outcomes,
        said,
        correct,
        references=made.models.size or 0 if made else 0,
        population=population.size if population else 0,
        queries=None if target.spent is None else target.spent - (before or 0),
    )


def _population(given: Any, pool: Pool, target: Target) -> tuple[Examples | None, list[Caution]]:
    """The attacker's own records, less those that are audited."""
    if given is None:
        return None, []
    side = side_of(given, "population", records=True)
    assert side.x is not None and side.labels is not None and pool.side.x is not None
    x, y = as_features(side.x), classes(side.labels, target.model.num_classes).codes
    attacking.check_shape(target, x)
    audited = np.isin(digests(x), digests(pool.side.x))
    if not audited.any():
        return Examples(x, y), []
    text = f"{int(audited.sum())} of {len(y)} population records are members or non-members too; they were left out."
    caution = Caution(code="population-overlap", severity="warning", text=text)
    return (None if audited.all() else Examples(x, y).take(~audited)), [caution]
