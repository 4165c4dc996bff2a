"""Many models: how the models axis meets the hardware. Placement and chunk are never semantics.

On a CPU one model per core: threads over one compiled program, so model k is bit-identical whatever the number, order
and placement of the others. On an accelerator chunks of models are vmapped (equal to rounding).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import axis
from privsec.core.data import Examples
from privsec.core.defense import Cleaned
from privsec.core.keys import derive
from privsec.core.recipe import Model, Params, Recipe
from privsec.training import loop

Placement = Literal["threads", "vmap"]

VMAP_CHUNK = 32
"""At most this many models are trained by one vmapped program on an accelerator."""


def train_many(
    model: Model,
    recipe: Recipe,
    data: Examples,
    include: np.ndarray,
    key: jax.Array,
    *,
    models: Iterable[int] | None = None,
    holdout: Examples | None = None,
    cleaned: Mapping[int, Cleaned] | None = None,
    placement: Placement | None = None,
) -> Iterator[tuple[int, loop.Trained]]:
    """Trains model m on the records where `include[m]` holds, for every m, and yields them as they finish.

    Model m depends on (recipe, data, include[m], key, m) alone: not on how many models there are, their order, or which
    of them are asked for. Growing a population keeps the models it had.

    Args:
        model: the architecture.
        recipe: how to train it, defenses included.
        data: N candidate records, shared by all models.
        include: bool [M, N], `recipe.records` true in each row.
        key: the population's key; model m's own is derived from it by m.
        models: which m to train; all where None.
        holdout: records that early stopping may look at.
        cleaned: for each of these m, the labels [N] it is trained with and which of its records count; as they are
            where None.
        placement: where the models run; chosen by the device where None.

    Yields:
        (m, Trained) with host arrays, in the order in which they finish.

    Raises:
        ValueError: as `loop.train` does.
    """
    wanted = list(range(len(include))) if models is None else list(models)
    shared = Examples(jnp.asarray(data.x), jnp.asarray(data.y))
    chosen = placement or ("threads" if jax.default_backend() == "cpu" else "vmap")

    def arguments_of(m: int) -> loop.Arguments:
        own = derive(key, "model", m)
        if cleaned is None:
            return loop.arguments(recipe, shared, include[m], own, holdout)
        data = shared._replace(y=jnp.asarray(cleaned[m].y))
        return loop.arguments(recipe, data, include[m], own, holdout, kept=np.asarray(cleaned[m].kept))

    if wanted:
        yield from _PLACEMENTS[chosen](model, recipe, arguments_of, wanted)


def _threads(
    model: Model, recipe: Recipe, arguments_of: Callable[[int], loop.Arguments], wanted: list[int]
) -> Iterator[tuple[int, loop.Trained]]:
    program = loop.compiled(model, recipe).lower(arguments_of(wanted[0])).compile()
    yield from axis.over_models(lambda m: jax.device_get(program(arguments_of(m))), wanted)


def _vmapped(
    model: Model, recipe: Recipe, arguments_of: Callable[[int], loop.Arguments], wanted: list[int]
) -> Iterator[tuple[int, loop.Trained]]:
    per_model = loop.Arguments(x=None, y=0, schedule=0, rates=None, key=0, holdout=None)  # type: ignore[arg-type]
    program = _vmapped_program(model, recipe.program, per_model)
    size = math.ceil(len(wanted) / math.ceil(len(wanted) / VMAP_CHUNK))
    for start in range(0, len(wanted), size):
        chunk = wanted[start : start + size]
        given = [arguments_of(m) for m in chunk]
        given += given[-1:] * (size - len(chunk))  # one shape, also for the last chunk
        stacked = given[0]._replace(
            y=jnp.stack([jnp.asarray(g.y) for g in given]),
            schedule=jax.tree.map(lambda *leaves: np.stack(leaves), *(g.schedule for g in given)),
            key=jnp.stack([g.key for g in given]),
        )
        trained = jax.device_get(program(stacked))
        for i, m in enumerate(chunk):
            yield m, jax.tree.map(lambda leaf, i=i: leaf[i], trained)


@functools.lru_cache(maxsize=32)
def _vmapped_program(model: Model, program: Recipe, axes: loop.Arguments):
    return jax.jit(jax.vmap(functools.partial(loop._train, model, program), in_axes=(axes,)))


_PLACEMENTS = {"threads": _threads, "vmap": _vmapped}


def train_stack(model: Model, recipe: Recipe, data: Examples, include: np.ndarray, key: jax.Array) -> Params:
    """Every model of a population, trained and stacked; the arguments are those of `train_many`."""
    trained = dict(train_many(model, recipe, data, include, key))
    return stack([trained[m].params for m in sorted(trained)])


def stack(params: list[Params]) -> Params:
    """M models' parameters as one pytree whose leaves have a leading [M]."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *params)


def checkpoints(history: Params) -> list[Params]:
    """A stack's checkpoints, first to last, from leaves [M, K, ...]; none from ()."""
    count = next((leaf.shape[1] for leaf in jax.tree.leaves(history)), 0)
    return [jax.tree.map(lambda leaf, k=k: leaf[:, k], history) for k in range(count)]
