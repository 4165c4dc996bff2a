"""Reference models for an audit: trained by the auditor's function on complementary halves of the pool, or given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from privsec import targets
from privsec.auditor.pool import Pool
from privsec.auditor.record import Caution
from privsec.core import keys
from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.errors import ConfigError, DataError, PrivsecError
from privsec.core.target import Target
from privsec.runner.progress import Narrator

Train = Callable[[np.ndarray, np.ndarray, int], Any]
"""(x, y, seed) -> a Target, or a model that can be made one: a fitted classifier of scikit-learn, a flax or PyTorch
module, a function from records to probabilities. Where the audited Target was made with settings of its own (a floor, a
wrapper), make these in the same way and return Targets: models that answer differently are no references."""


class References(NamedTuple):
    """M models stacked, and which of the pool's N records each was trained on, bool [M, N]."""

    models: Target
    included: np.ndarray


def trained(train: Train, pool: Pool, count: int, seed: int, like: Target, narrator: Narrator) -> References:
    """`count` models in complementary pairs: each is trained on a random half of the pool, its twin on the other half.

    So every record is in exactly half of them, and the number of models that know a record says nothing about it.

    Args:
        train: trains one as the audited model was trained; the seed differs from model to model.
        pool: members and non-members.
        count: M, even.
        seed: of the halves.
        like: the audited model, whose records and classes they share.
        narrator: shows progress.

    Raises:
        ConfigError: an odd number, or fewer than two.
        PrivsecError: the function failed, or returned something that is no model.
    """
    if count < 2 or count % 2:
        raise ConfigError(f"shadows={count}: they come in complementary pairs; write an even number, at least 2.")
    root = keys.derive(keys.root(seed), "references")
    halves = [
        keys.generator(keys.derive(root, pair)).permutation(pool.size) < pool.size // 2 for pair in range(count // 2)
    ]
    included = np.array([half if first else ~half for half in halves for first in (True, False)])
    x, y = pool.examples

    def models() -> Iterator[Target]:
        for m, rows in enumerate(included):
            try:
                model = train(np.asarray(x)[rows], np.asarray(y)[rows], seed * count + m)
            except Exception as error:
                raise PrivsecError(
                    f"train(x, y, seed) failed for reference {m} ({int(rows.sum())} records): {type(error).__name__}: "
                    f"{error}"
                ) from error
            yield as_target(model, like)

    return References(targets.stack(list(narrator.follow("reference models", models(), count))), included)


def as_target(model: Any, like: Target) -> Target:
    """The Target of whatever a training function returned, for the records and classes of `like`.

    Raises:
        PrivsecError: there is no telling how to ask it.
    """
    shape, num_classes = like.model.shape, like.model.num_classes
    if isinstance(model, Target):
        return model
    if hasattr(model, "classes_"):
        if len(model.classes_) != num_classes:
            raise PrivsecError(
                f"a reference model knows {len(model.classes_)} of the {num_classes} classes: its half of the records "
                "lacks some. Audit with more records, or leave out classes of one or two records."
            )
        return targets.from_sklearn(model, shape=shape)
    library = {part for base in type(model).__mro__ for part in base.__module__.split(".")[:1]}
    if "torch" in library:
        return targets.from_torch(model.eval(), shape=shape, num_classes=num_classes)
    if "flax" in library:
        return targets.from_flax(model, num_classes=num_classes, shape=shape)
    if callable(model):
        return targets.from_callable(model, num_classes=num_classes, shape=shape)
    raise PrivsecError(
        f"train(x, y, seed) returned {type(model).__name__}, which is no model: return a privsec.Target, a fitted "
        "classifier, a flax or PyTorch module, or a function from records to probabilities."
    )


def given(references: tuple[Target, Any], pool: Pool, target: Target) -> tuple[References | None, list[Caution]]:
    """References trained beforehand, checked; those that would give the answer away are left out, which is said.

    Args:
        references: a stack of M Targets, and bool [M, N]: which records each was trained on, members first, in the
            order in which they were given.
        pool: members and non-members.
        target: the audited model.

    Raises:
        ConfigError: not such a pair.
        DataError: `included` has another shape.
    """
    if not (isinstance(references, tuple) and len(references) == 2 and isinstance(references[0], Target)):
        raise ConfigError("references must be a pair: (a stack of Targets, included bool [M, N]).")
    models, included = references[0], np.asarray(references[1], bool)
    if models.size is None:
        raise ConfigError("references must be a stack of Targets; make one by privsec.targets.stack([...]).")
    if included.shape != (models.size, sum(pool.given)):
        raise DataError(
            f"`included` has shape {included.shape}; {models.size} references, {pool.given[0]} members and "
            f"{pool.given[1]} non-members make it {(models.size, sum(pool.given))}."
        )
    pooled = included[:, pool.place]
    same = (pooled == pool.member).all(axis=1) | (pooled != pool.member).all(axis=1)
    if target.traceable and models.traceable and Access.SCORES in target.grants & models.grants:  # asking costs nothing
        few = Examples(*(part[:1000] for part in pool.examples))
        same |= (target.observe(few, "margin") == models.observe(few, "margin")).all(axis=1)
    if not same.any():
        return References(models, pooled), []
    text = (
        f"{int(same.sum())} of {models.size} references are the audited model itself, or were trained on exactly its "
        "members or exactly the others: they would give the answer away, and were left out."
    )
    caution = Caution(code="target-among-references", severity="warning", text=text)
    return (References(models[~same], pooled[~same]) if not same.all() else None), [caution]
