"""How an exam runs an attack: on a bank or a few targets, behind some access, told lies, its queries counted."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.access import Access
from privsec.core.attack import Attack, Knowledge
from privsec.core.evidence import Evidence, MembershipScores
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.testing import toy


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
    """The attack's evidence on the whole leaking bank, kept for the next checks."""
    return toy.leaking().run(attack)


@functools.lru_cache(maxsize=4)
def evidence_of_few(attack: Attack) -> Evidence:
    """The attack's evidence on `few` targets, kept for the next checks."""
    return run_few(attack)


def few(attack: Attack, grants: Access | None = None, without: Iterable[str] = ()) -> tuple[Target, Knowledge]:
    """One complementary pair as targets, and what is known about them; the whole bank where compiling costs more."""
    world = toy.leaking()
    count = toy.MODELS if attack.traceable else 2
    known = world.known(attack, without)
    if known.usable is not None:
        known = replace(known, usable=known.usable[:count])
    return world.bank[:count].restrict(attack.needs if grants is None else grants), known


def run_few(attack: Attack, grants: Access | None = None, without: Iterable[str] = ()) -> Evidence:
    """The attack on `few` targets."""
    return toy.run(attack, *few(attack, grants, without))


def fields(one: Evidence, other: Evidence) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """Name and values of each part of two pieces of evidence."""
    for name in one._fields:
        yield name, np.asarray(getattr(one, name)), np.asarray(getattr(other, name))


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
