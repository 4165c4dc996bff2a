"""Which attacks run on a given model, and what comes of each: scores, or the reason why there are none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from privsec.attacks import ATTACKS
from privsec.attacks.membership.threshold import ThresholdAttack
from privsec.core import keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Knowledge
from privsec.core.errors import ConfigError, DataError, NotApplicable, did_you_mean
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.runner.progress import Narrator

SAME_RANKING = frozenset({"confidence"})
"""Left out by default: it ranks records as `loss` does, and would only cost the other attacks confidence."""
ONE_LOOK = 18
"""An attack that by default asks more often about a record than this runs by default only where labels are all there
is."""


class Outcome(NamedTuple):
    """One attack on the pool: scores float64 [N] (higher = more likely a member), or the reason why there are none."""

    name: str
    title: str
    needs: Access
    paper: str
    status: Literal["ok", "failed", "not_applicable"]
    reason: str = ""
    scores: np.ndarray | None = None
    queries: float | None = None
    seconds: float = 0.0


def given_scores(scores: np.ndarray, what: str) -> Outcome:
    """The outcome of an attack that somebody else ran."""
    return Outcome("given", f"given {what}", Access.SCORES, "", "ok", scores=scores)


def chosen(attacks: Sequence[Attack | dict | str] | None, grants: Access, *, references: bool) -> tuple[Attack, ...]:
    """The attacks to run, by default every membership attack of sensible cost.

    Args:
        attacks: Specs, their JSON, or their names; None for the default.
        grants: what the target grants.
        references: whether there are reference models.

    Raises:
        ConfigError: an unknown or duplicate attack, one of another family, an empty list.
    """
    if attacks is not None:
        parsed = tuple(_parsed(given) for given in attacks)
        titles = [attack.title for attack in parsed]
        if not parsed or len(set(titles)) < len(titles):
            raise ConfigError("attacks must be a list of at least one, each with a `label` of its own.")
        return parsed
    specs = [
        spec
        for name, spec in ATTACKS.specs.items()
        if spec.family == "membership"
        and name not in SAME_RANKING
        and (grants == Access.LABELS or not _asks_often(spec))
    ]
    return tuple(spec() if references else _without_references(spec) for spec in specs)


def _without_references(spec: type[Attack]) -> Attack:
    """The default attack, told to do without the references by which it would learn thresholds or calibrate."""
    settings: dict[str, Any] = {name: False for name in ("per_class", "calibrated") if name in spec.model_fields}
    return spec(**settings)


def _asks_often(spec: type[Attack]) -> bool:
    queries = spec.model_fields.get("queries")
    return queries is not None and queries.default > ONE_LOOK


def _parsed(given: Attack | dict | str) -> Attack:
    named = {"name": given} if isinstance(given, str) else given
    known = [name for name, spec in ATTACKS.specs.items() if spec.family == "membership"]
    name = named.get("name") if isinstance(named, dict) else getattr(named, "name", type(named).__name__)
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"attacks: {name!r} is no membership attack.{hint} There are {', '.join(known)}.")
    return ATTACKS.parse(named)


def looking_once() -> tuple[Attack, ...]:
    """The attacks that look at one answer to each record and at nothing else: all that recorded answers allow."""
    kinds = [spec for name, spec in ATTACKS.specs.items() if name not in SAME_RANKING]
    return tuple(_without_references(spec) for spec in kinds if issubclass(spec, ThresholdAttack))


def check_shape(target: Target, x: np.ndarray | None) -> None:
    """Refuses records of another shape than the model takes.

    Raises:
        DataError: both shapes.
    """
    assert x is not None
    if target.model.shape != x.shape[1:]:
        raise DataError(
            f"the model takes records of shape {list(target.model.shape)}, but these have {list(x.shape[1:])}. Prepare "
            "them as the model's training did."
        )


def attacked(
    attacks: Sequence[Attack], target: Target, knowledge: Knowledge, seed: int, narrator: Narrator
) -> tuple[np.ndarray | None, list[Outcome]]:
    """Which candidates the model labels right (None where it did not answer), and every attack's outcome.

    The model answers for the candidates and the population once, whatever the number of attacks. What one attack does
    wrong is a reason, never a crash.
    """
    assert knowledge.candidates is not None
    one = target if target.size is None else target[0]
    try:
        recorded = one.record(knowledge.candidates)
        correct = recorded.observe(knowledge.candidates, "correct")[0]
        if knowledge.population is not None:
            recorded = recorded.record(knowledge.population)
    except Exception as error:  # asking a model that does not answer again, once an attack, would only take longer
        status = "not_applicable" if isinstance(error, NotApplicable) else "failed"
        reason = f"the model did not answer: {_told(error)}"
        return None, [_outcome(attack, status, reason) for attack in attacks]
    references = knowledge.references
    if references is not None:
        references = references.record(knowledge.candidates)
        if knowledge.population is not None:
            references = references.record(knowledge.population)
        knowledge = replace(knowledge, references=references)
    running = (_run(attack, recorded, knowledge, seed) for attack in attacks)
    return correct, list(narrator.follow("attacks", running, len(attacks)))


def _run(attack: Attack, target: Target, knowledge: Knowledge, seed: int) -> Outcome:
    start = time.perf_counter()
    if attack.needs not in target.grants:
        reason = f"needs {attack.needs.title} access, but the model is audited with {target.grants.title} access"
        return _outcome(attack, "not_applicable", reason)
    references = knowledge.references
    if references is not None:
        if attack.needs not in references.grants:
            return _outcome(attack, "not_applicable", f"the references grant {references.grants.title} access only")
        knowledge = replace(knowledge, references=references.restrict(attack.needs))
    try:
        evidence = attack.run(target.restrict(attack.needs), knowledge, keys.derive(keys.root(seed), attack.digest))
        scores = np.asarray(jax.device_get(evidence.scores), np.float64)  # type: ignore[union-attr]
        assert isinstance(evidence, MembershipScores) and scores.shape == (1, len(knowledge.candidates.y))  # type: ignore[union-attr]
        if np.isnan(scores).all():
            raise DataError("no record got a score")
    except NotApplicable as error:
        return _outcome(attack, "not_applicable", _told(error, named=False))
    except Exception as error:
        return _outcome(attack, "failed", _told(error))
    spent = time.perf_counter() - start
    return _outcome(attack, "ok", "", scores=scores[0], queries=float(evidence.queries), seconds=spent)


def _outcome(attack: Attack, status: Any, reason: str, **found: Any) -> Outcome:
    return Outcome(attack.name, attack.title, attack.needs, attack.paper, status, reason, **found)  # type: ignore[attr-defined]


def _told(error: Exception, *, named: bool = True) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if named else text
