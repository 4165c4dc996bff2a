"""How an exam runs an attack: on a bank or a few targets, behind some access, told lies, its queries counted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.access import Access
from privsec.core.attack import Attack, Knowledge
from privsec.core.evidence import (
    Evidence,
    MembershipScores,
    Perturbed,
    Predictions,
    Program,
    Reconstructions,
    StolenModel,
)
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.testing import toy
from privsec.testing.toy_evasion import EvasionWorld
from privsec.testing.worlds import World, certain, impossible

METERED = 3
"""Points whose queries are counted one by one."""


def doctored(known: Knowledge) -> Iterable[tuple[str, Knowledge]]:
    """The Knowledge with lies about models 0 and 1: who was trained on what, and what they answer."""
    included = np.array(known.included)
    included[:2] = included[1::-1]
    yield "membership rows", replace(known, included=included)
    assert known.references is not None
    strangers = jax.tree.map(lambda leaf: leaf.at[:2].set(leaf[2:4]), known.references)
    yield "reference models", replace(known, references=strangers)


def scores_of(found: Evidence) -> np.ndarray:
    """The membership scores [T, N]."""
    assert isinstance(found, MembershipScores)
    return np.asarray(found.scores)


@functools.lru_cache(maxsize=4)
def evidence_of(attack: Attack) -> Evidence:
    """The attack's evidence on the whole bank of the world where success is certain, kept for the next checks."""
    return run_in(certain(attack), attack)


@functools.lru_cache(maxsize=4)
def _evidence_of_few(attack: Attack) -> Evidence:
    return run_few(attack)


def evidence_of_few(attack: Attack) -> Evidence:
    """The attack's evidence on `few` targets, kept for the next checks."""
    return evidence_of(attack) if _count(attack) == certain(attack).bank.size else _evidence_of_few(attack)


def run_in(world: World, attack: Attack) -> Evidence:
    """The attack's evidence on a world's whole bank, behind the access it declares."""
    return toy.run(attack, world.bank.restrict(attack.needs), world.known(attack))


def few(attack: Attack, grants: Access | None = None, without: Iterable[str] = ()) -> tuple[Target, Knowledge]:
    """One complementary pair as targets, and what is known about them; the whole bank where compiling costs more."""
    world, count = certain(attack), _count(attack)
    known = world.known(attack, without)
    if known.usable is not None:
        known = replace(known, usable=known.usable[:count])
    return world.bank[:count].restrict(attack.needs if grants is None else grants), known


def _count(attack: Attack) -> int:
    size = certain(attack).bank.size or 1
    return size if attack.traceable else min(size, 2)


def run_few(attack: Attack, grants: Access | None = None, without: Iterable[str] = ()) -> Evidence:
    """The attack on `few` targets."""
    return toy.run(attack, *few(attack, grants, without))


def fields(one: Evidence, other: Evidence) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """Name and values of each part of two pieces of evidence."""
    for name in one._fields:
        pairs = zip(jax.tree.leaves(getattr(one, name)), jax.tree.leaves(getattr(other, name)), strict=True)
        for left, right in pairs:
            if not isinstance(left, Model):
                yield name, np.asarray(left), np.asarray(right)


def counted(model: Model, asked: list[np.ndarray]) -> Model:
    """The model, noting a number for each input it is asked about: equal for equal inputs to equal parameters."""
    factors = np.random.default_rng(0).integers(0, 2**63, int(np.prod(model.shape)), dtype=np.uint64)

    def note(x: jax.Array, whom: jax.Array) -> None:
        words = np.asarray(x, np.float32).reshape(-1, len(factors)).view(np.uint32).astype(np.uint64)
        asked.append((words * factors).sum(axis=1, dtype=np.uint64) + np.float32(whom).view(np.uint32))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        jax.debug.callback(note, x, sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)))
        return model.apply(params, x)

    return replace(model, apply=apply)


class Count(NamedTuple):
    """Queries a prompt, as made and as reported, those that need not be, and the least share that must be."""

    made: float
    reported: float
    spared: float = 0.0
    share: float = 0.75
    """Prompts that are done are asked along with the others."""


def inputs_counted(attack: Attack) -> Count:
    """Different inputs asked about, where asking the same again tells nothing new."""
    known, asked, found = _watched(attack)
    assert isinstance(found, MembershipScores | Reconstructions)
    prompts = int(np.sum(~np.isnan(scores_of(found)))) if isinstance(found, MembershipScores) else len(found.y)
    spared = 0 if known.population is None else known.population.size / prompts
    return Count(np.unique(asked).size / prompts, float(found.queries), spared)


def answers_counted(attack: Attack) -> Count:
    """Every answer, for each of the prompts."""
    known, asked, found = _watched(attack)
    if isinstance(found, Program):
        return Count(len(asked), float(found.queries))
    assert isinstance(found, Predictions)
    _, prompts, values = found.scores.shape
    spared = 0 if known.population is None else known.population.size * values / prompts
    return Count(len(asked) / prompts, float(found.queries), spared)


def budget_counted(attack: Attack) -> Count:
    """Different inputs asked about, against the largest budget."""
    _, asked, found = _watched(attack)
    assert isinstance(found, StolenModel)
    return Count(float(np.unique(asked).size), float(np.max(found.budgets)))


def metered(attack: Attack) -> Count:
    """What a model outside of JAX is asked where no point is ever done, all points and gradients together."""
    world = impossible(attack)
    assert isinstance(world, EvasionWorld)
    target, known = world.metered(), world.known(attack)
    if known.points is not None:
        known = replace(known, points=known.points.take(np.arange(METERED)))
    if known.usable is not None:
        known = replace(known, usable=known.usable[:1])
    found = attack.run(target.restrict(attack.needs), known, toy.key())
    assert isinstance(found, Perturbed) and target.spent is not None
    queries, gradients = (float(np.sum(spent)) for spent in (found.queries, found.gradients))
    share = 0.5 if gradients else 1.0  # labels and scores are what an owner counts
    return Count(target.spent / METERED, (queries + gradients) / METERED, share=share)


def _watched(attack: Attack) -> tuple[Knowledge, np.ndarray, Evidence]:
    """The attack on one model, and every input it was asked about."""
    asked: list[np.ndarray] = []
    world = certain(attack)
    counting = replace(world.bank, model=counted(world.bank.model, asked))[:1]
    known = world.known(attack)
    if known.usable is not None:
        known = replace(known, usable=known.usable[:1])
    found = toy.run(attack, counting.restrict(attack.needs), known)
    jax.block_until_ready([leaf for leaf in jax.tree.leaves(found) if isinstance(leaf, jax.Array)])
    jax.effects_barrier()
    return known, np.concatenate(asked), found


COUNTED: Mapping[str, Callable[[Attack], Count]] = {
    "membership": inputs_counted,
    "amplified": inputs_counted,
    "inversion": inputs_counted,
    "evasion": metered,
    "reprogramming": answers_counted,
    "hidden": answers_counted,
    "extraction": budget_counted,
}
"""How the queries of an attack are counted, by what it asks; whoever inverts gradients, or leaves the
asking to the measures, asks the model nothing."""
