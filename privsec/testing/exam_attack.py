"""What every attack has to pass: it does what its config says, with the access it declares, and finds what is there."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import get_args

import jax
import numpy as np

from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.errors import AccessError, NotApplicable
from privsec.core.evidence import Evidence, Reconstructions
from privsec.core.target import Target
from privsec.testing import toy
from privsec.testing.attack_runs import (
    COUNTED,
    doctored,
    evidence_of,
    evidence_of_few,
    few,
    fields,
    run_few,
    run_in,
    scores_of,
)
from privsec.testing.exam import Check, cites, examine, is_documented, is_its_config, rebuilt, require
from privsec.testing.exam_evidence import SHAPES, count_of, is_finite, of_confidence
from privsec.testing.exam_tampering import tampering
from privsec.testing.worlds import certain, impossible, question

SIGNIFICANCE = 1e-3
"""Chance that an honest attack fails one statistical check; keys are fixed, so a verdict never changes by itself."""
CLEAR = 0.01
"""How significant an advantage must be where leakage is certain; attacks on few targets cannot reach much less."""
FAINT = 0.1
"""Advantage that an attack must exceed where leakage is certain."""

DRIFT = 0.05
"""How far a compiled attack may end from the eager one; a long descent magnifies the rounding in which they differ."""


def examine_attack(attack: Attack, *, skip: Iterable[str] = ()) -> None:
    """Holds an attack against everything that privsec expects of one; takes seconds.

    Args:
        attack: the Spec, for example `LiRA(online=False)`.
        skip: names of `ATTACK_CHECKS` that do not apply, for example `"power"` for an attack on leaks that memorizing
            classifiers do not have.

    Raises:
        AssertionError: which requirements it misses, and what to do.

    >>> from privsec.attacks.membership.loss import Loss
    >>> examine_attack(Loss())
    """
    examine(attack, ATTACK_CHECKS, skip)


def config(attack: Attack) -> None:
    """An attack is its config."""
    is_its_config(attack)
    require(
        attack.model_copy(update={"label": "another name"}).digest == attack.digest,
        "a label changes the digest, though it names the attack without changing it: leave `label` in `unhashed`",
    )


def declaration(attack: Attack) -> None:
    """An attack declares its family, its access, the knowledge it reads, and its paper."""
    is_documented(attack)
    cites(getattr(attack, "paper", None))
    require(
        getattr(attack, "family", None) in get_args(Family), f"`family` must be one of {', '.join(get_args(Family))}"
    )
    require(isinstance(getattr(attack, "needs", None), Access), "`needs` must be an Access, for example Access.SCORES")
    parts = getattr(attack, "requires", None)
    require(
        isinstance(parts, frozenset) and parts <= set(get_args(Part)),
        f"`requires` must be a frozenset of {', '.join(get_args(Part))}",
    )


def access(attack: Attack) -> None:
    """An attack runs with the access it declares and is refused with any weaker one."""
    evidence_of_few(attack)
    for weaker in Access.__members__.values():  # iterating the class would leave out the levels of several bits
        if weaker not in attack.needs or weaker == attack.needs:
            continue
        try:
            run_few(attack, grants=weaker)
        except AccessError:
            continue
        raise AssertionError(
            f"it runs with {weaker.title} access, declares {attack.needs.title}: write `needs = Access.{weaker.name}`"
        )


def knowledge(attack: Attack) -> None:
    """An attack runs with the Knowledge it declares, and with a part missing says that it is not applicable."""
    evidence_of_few(attack)
    for part in sorted(attack.requires):
        try:
            run_few(attack, without=(part,))
        except NotApplicable as reason:
            require(
                str(reason),
                f"without {part} it raises NotApplicable without a reason: say what is missing and how to get it",
            )
        except Exception as error:
            raise AssertionError(
                f"without {part} it raises {type(error).__name__}: check for None, raise NotApplicable with the reason"
            ) from error


def reproducible(attack: Attack) -> None:
    """The same config and key give the same evidence, to the last bit."""
    for name, one, other in fields(evidence_of_few(attack), run_few(rebuilt(attack))):  # type: ignore[arg-type]
        require(
            np.array_equal(one, other, equal_nan=True),
            f"`{name}` differs between two runs with one key: draw from `key` only, and keep no state",
        )


def compilation(attack: Attack) -> None:
    """A traceable attack gives the same evidence compiled, and equal Specs share one compilation."""
    if not attack.traceable:
        return
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def trace(spec: Attack, target: Target, known: Knowledge, key: jax.Array) -> Evidence:
        traced.append(spec)
        return spec.run(target, known, key)

    target, known = few(attack)
    for spec in (attack, rebuilt(attack)):
        jax.eval_shape(functools.partial(trace, spec), target, known, toy.key())
    require(len(traced) == 1, "an equal Spec was compiled again: equal Specs must be equal and hash alike")
    eager = attack.run(target, known, toy.key())
    for name, one, other in fields(evidence_of_few(attack), eager):
        require(
            np.allclose(one, other, rtol=1e-2, atol=DRIFT),
            f"`{name}` differs between jit and eager by up to {np.max(np.abs(one - other)):.2g}: `run` must not "
            "depend on values of its arguments in Python; or declare `traceable = False`",
        )


def evidence(attack: Attack) -> None:
    """Evidence has the shape its kind promises, and its numbers are finite."""
    found, world = evidence_of(attack), certain(attack)
    SHAPES[type(found)](found, world)
    if isinstance(world, toy.Toy) and isinstance(found, Reconstructions):
        of_confidence(found, world.bank.restrict(attack.needs))


def queries(attack: Attack) -> None:
    """The queries an attack reports are those it makes."""
    count = COUNTED.get(question(attack))
    if count is None:  # the model is not asked
        return
    made, reported, spared, share = count(attack)
    require(
        max(1.0, share * (made - spared)) <= reported <= 1.02 * made + 1,
        f"it reports {reported:.1f} queries for each of its prompts and makes {made:.1f}: every answer that is read is "
        "a query (a gradient too; the population's may be left out)",
    )


def alone(attack: Attack) -> None:
    """A single target is attacked like a stack of one."""
    world = certain(attack)
    target, known = world.bank[0].restrict(attack.needs), world.known(attack)
    if known.references is not None and known.included is not None:
        known = replace(known, references=known.references[2:], included=known.included[2:], usable=None)
    if known.updates is not None:
        seen, start = jax.tree.map(lambda leaf: leaf[:1], (known.updates.gradients, known.updates.start))
        known = replace(known, updates=known.updates._replace(gradients=seen, start=start))
    if attack.traceable:  # tracing alone tells the shape
        found = jax.eval_shape(attack.run, target, known, toy.key())
    else:
        found = attack.run(target, known, toy.key())
    count = count_of(found)
    require(count == 1, f"for a single target the evidence must have T = 1; got {count}")
    require(attack.traceable or is_finite(found), "no number is finite for a single target")


def power(attack: Attack) -> None:
    """Where success is certain, the attack has a clear advantage."""
    gain = next(iter(certain(attack).gains(evidence_of(attack)).values()))
    require(
        gain.value > FAINT and gain.p_value < CLEAR,
        f"its advantage where success is certain is {gain.value:.3f} (p = {gain.p_value:.2g}); is the sign of the "
        "score right (higher = member)? An attack on another kind of leak is examined with skip=['power']",
    )


def null(attack: Attack) -> None:
    """Where there is nothing to find, the attack finds nothing."""
    world = impossible(attack)
    same = isinstance(world, toy.Toy) and "references" not in attack.requires  # only the truth differs
    found = evidence_of(attack) if same else run_in(world, attack)
    for name, gain in world.gains(found).items():
        require(
            gain.p_value > SIGNIFICANCE or (name == "advantage" and gain.value <= 0),
            f"its {name} is {gain.value:.3f} above the null (p = {gain.p_value:.2g}) with nothing to find: it reads "
            "the truth, or takes for its own what was there before",
        )


def leave_one_out(attack: Attack) -> None:
    """What is known of a target's own membership, and of its twin's, changes nothing in the target's scores."""
    if "references" not in attack.requires or attack.family != "membership":
        return
    world = toy.leaking()
    honest = scores_of(evidence_of_few(attack))[:2]
    for what, changed in doctored(world.known(attack)):
        target = world.bank[:2].restrict(attack.needs)
        scores = scores_of(toy.run(attack, target, replace(changed, usable=changed.usable[:2])))  # type: ignore[index]
        require(
            np.allclose(scores, honest, rtol=1e-6, atol=1e-9, equal_nan=True),
            f"other {what} of the target and its twin change the target's scores by up to "
            f"{np.nanmax(np.abs(scores - honest)):.2g}: use reference m for target t only where usable[t, m]",
        )


ATTACK_CHECKS: Mapping[str, Check[Attack]] = {
    check.__name__: check
    for check in (
        config,
        declaration,
        tampering,
        access,
        knowledge,
        reproducible,
        compilation,
        evidence,
        queries,
        alone,
        power,
        null,
        leave_one_out,
    )
}
"""The requirements by name, cheap ones first."""
