"""What an attack has to pass that acts before the training: it plants what it says it does, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from privsec.core import keys
from privsec.core.attack import Attack, Knowledge, Poison
from privsec.core.data import Examples
from privsec.testing.exam import read_only, require, writing_nothing
from privsec.testing.worlds import impossible

KINDS = {"x": "f", "y": "i", "replaces": "i", "pair": "i", "counts": "b"}


def tampering(attack: Attack) -> None:
    """What an attack plants are records like the candidates, no more than its `rate`, and so is its control's."""
    overrides = type(attack).tamper is not Attack.tamper
    require(
        attack.tampers or (attack.family != "poisoning" and not overrides),
        "`tampers` is False, so its `tamper` is never called: write `tampers: ClassVar[bool] = True`"
        if overrides
        else "a poisoning attack acts before the training: write `tamper`, and `tampers: ClassVar[bool] = True`",
    )
    if not attack.tampers:
        return
    require(overrides, "`tampers` is True and there is no `tamper`: write what it plants among the candidates")
    world = impossible(attack)  # nobody tampered with anything yet
    known, candidates = world.knowledge, world.knowledge.candidates
    assert candidates is not None and world.knowledge.included is not None
    included = np.asarray(world.knowledge.included, bool)
    poison = _of(attack, attack.tamper, candidates, known)
    _is_like(poison, candidates, known)
    _fits(attack, poison, candidates.size, len(included) // 2)
    share, most = _share(poison, included), _most(attack)
    require(
        share <= most + 1.5 / included[0].sum(),
        f"{share:.1%} of a model's training records are its own on average, and its `rate` says {most:.1%}",
    )
    again = _of(attack, attack.tamper, candidates, known)
    for name, one, other in zip(Poison._fields, poison, again, strict=True):
        require(
            np.array_equal(one, other),
            f"`{name}` of what it plants differs between two calls with one key: draw from `key` only",
        )
    control = attack.control
    if control is not None:
        require(control.control is None, "its `control` has a control in turn: the harmless version needs none")
        harmless = _of(control, control.tamper, candidates, known)
        _is_like(harmless, candidates, known)
        _fits(control, harmless, candidates.size, len(included) // 2)
        require(
            control.added == attack.added,
            f"its control adds {control.added} records and it adds {attack.added}: training sets must be as large",
        )


def _of(attack: Attack, tamper: Callable, candidates: Examples, known: Knowledge) -> Poison:
    """What is planted among candidates that nothing can be written into."""
    given = Examples(read_only(candidates.x), read_only(candidates.y))
    known = replace(known, candidates=given)
    with writing_nothing("`tamper`", "return them in a Poison instead"):
        made = tamper(given, known, keys.root(5))
    require(isinstance(made, Poison), f"`tamper` of {attack.title} must return a Poison; got {type(made).__name__}")
    return made


def _is_like(poison: Poison, candidates: Examples, known: Knowledge) -> None:
    """Records of the candidates' shape, inside the box, with classes as labels."""
    count = len(np.asarray(poison.y))
    require(count, "it plants no record")
    for name, kind in KINDS.items():
        part = np.asarray(getattr(poison, name))
        shape = (count, *candidates.x.shape[1:]) if name == "x" else (count,)
        require(
            part.shape == shape and part.dtype.kind == kind,
            f"`{name}` of its Poison has shape {list(part.shape)} and type {part.dtype}, expected {list(shape)}: "
            "build it by `Poison.of`",
        )
    y, x = np.asarray(poison.y), np.asarray(poison.x)
    require(y.min() >= 0 and y.max() < known.num_classes, "it plants labels that are no classes")
    require(np.isfinite(x).all(), "it plants records that are not finite")
    if known.box is not None:
        low, high = (np.asarray(end) for end in known.box)
        require(
            (x >= low - 1e-6).all() and (x <= high + 1e-6).all(),
            "it plants records outside the box: clip them to `knowledge.box`",
        )


def _fits(attack: Attack, poison: Poison, count: int, pairs: int) -> None:
    """Each takes the place of a candidate, and none takes a place that is gone; those added are as many as said."""
    replaces, pair = np.asarray(poison.replaces), np.asarray(poison.pair)
    require(
        replaces.min() >= -1 and replaces.max() < count,
        f"`replaces` are rows of the {count} candidates, or -1; got {replaces.min()} to {replaces.max()}",
    )
    require(pair.min() >= -1 and pair.max() < pairs, f"`pair` is -1 for all, or one of the {pairs} pairs of models")
    for p in range(pairs):
        mine = np.isin(pair, (-1, p))
        taken = replaces[mine & (replaces >= 0)]
        require(len(set(taken)) == len(taken), "two of its records take the place of one candidate")
        added = int(np.sum(mine & (replaces < 0)))
        require(
            added == attack.added,
            f"it adds {added} records to every training set, and `added` says {attack.added}",
        )


def _share(poison: Poison, included: np.ndarray) -> float:
    """Which share of a model's records are the attacker's in the place of others, on average over models."""
    replaces, pair = np.asarray(poison.replaces), np.asarray(poison.pair)
    shares = []
    for m, row in enumerate(included):
        own = (replaces >= 0) & np.isin(pair, (-1, m // 2))
        shares.append(np.sum(row[replaces[own]]) / row.sum())
    return float(np.mean(shares))


def _most(attack: Attack) -> float:
    """The share that its fields allow: `rate`, for each of its targets, with the covers."""
    rate, targets, covers = (getattr(attack, name, default) for name, default in _FIELDS)
    return float(rate * targets * (1 + covers))


_FIELDS = (("rate", 1.0), ("targets", 1), ("covers", 0.0))
