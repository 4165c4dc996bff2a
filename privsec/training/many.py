"""Many models: how the models axis meets the hardware. Placement and chunk are never semantics.

On a CPU one model per core: threads over one compiled program, so model k is bit-identical whatever the number, order
and placement of the others. On an accelerator chunks of models are vmapped (equal to rounding). With several devices in
sight each one trains its share, as it would alone: one model after the other on a CPU, vmapped on an accelerator.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from privsec.core import axis
from privsec.core.data import Examples
from privsec.core.defense import Cleaned
from privsec.core.keys import derive
from privsec.core.recipe import Model, Params, Recipe
from privsec.training import loop
from privsec.training.stacks import Stack

Placement = Literal["threads", "devices", "vmap"]

VMAP_CHUNK = 32
"""At most this many models are trained by one vmapped program on one accelerator."""
FREE = 0.8
"""Share of an accelerator's free memory that they may take."""


def placement_of(asked: Literal["auto"] | Placement) -> Placement:
    """Where models run on this machine: as asked, or as suits its devices."""
    if asked != "auto":
        return asked
    if jax.local_device_count() > 1:
        return "devices"
    return "threads" if jax.default_backend() == "cpu" else "vmap"


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
    placement: Literal["auto"] | Placement = "auto",
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
        placement: where the models run; "auto" is chosen by the devices.

    Yields:
        (m, Trained) with host arrays, in the order in which they finish.

    Raises:
        ValueError: as `loop.train` does.
    """
    wanted = list(range(len(include))) if models is None else list(models)
    shared = Examples(jnp.asarray(data.x), jnp.asarray(data.y))

    def arguments_of(m: int) -> loop.Arguments:
        own = derive(key, "model", m)
        if cleaned is None:
            return loop.arguments(recipe, shared, include[m], own, holdout)
        data = shared._replace(y=jnp.asarray(cleaned[m].y))
        return loop.arguments(recipe, data, include[m], own, holdout, kept=np.asarray(cleaned[m].kept))

    if wanted:
        yield from _PLACEMENTS[placement_of(placement)](model, recipe, arguments_of, wanted)


def _threads(
    model: Model, recipe: Recipe, arguments_of: Callable[[int], loop.Arguments], wanted: list[int]
) -> Iterator[tuple[int, loop.Trained]]:
    program = loop.compiled(model, recipe).lower(arguments_of(wanted[0])).compile()
    yield from axis.over_models(lambda m: jax.device_get(program(arguments_of(m))), wanted)


def _vmapped(
    model: Model, recipe: Recipe, arguments_of: Callable[[int], loop.Arguments], wanted: list[int]
) -> Iterator[tuple[int, loop.Trained]]:
    largest = _fitting(model, recipe, arguments_of(wanted[0]))
    size = math.ceil(len(wanted) / math.ceil(len(wanted) / largest))
    yield from _in_chunks(_vmapped_program(model, recipe.program), size, arguments_of, wanted)


def _on_devices(
    model: Model, recipe: Recipe, arguments_of: Callable[[int], loop.Arguments], wanted: list[int]
) -> Iterator[tuple[int, loop.Trained]]:
    count = jax.local_device_count()
    each = 1  # on a CPU: what is finished is kept at once, and no device waits longer than for one model
    if jax.default_backend() != "cpu":
        each = min(math.ceil(len(wanted) / count), _fitting(model, recipe, arguments_of(wanted[0])))
    yield from _in_chunks(_sharded_program(model, recipe.program), count * each, arguments_of, wanted)


def _in_chunks(
    program: Callable[[loop.Arguments], loop.Trained],
    size: int,
    arguments_of: Callable[[int], loop.Arguments],
    wanted: list[int],
) -> Iterator[tuple[int, loop.Trained]]:
    """Of a program that trains `size` models at once; the last chunk is filled up, so that all have one shape."""
    for start in range(0, len(wanted), size):
        chunk = wanted[start : start + size]
        given = [arguments_of(m) for m in chunk]
        given += given[-1:] * (size - len(chunk))
        stacked = given[0]._replace(
            y=jnp.stack([jnp.asarray(g.y) for g in given]),
            schedule=jax.tree.map(lambda *leaves: np.stack(leaves), *(g.schedule for g in given)),
            key=jnp.stack([g.key for g in given]),
        )
        trained = jax.device_get(program(stacked))
        for i, m in enumerate(chunk):
            yield m, jax.tree.map(lambda leaf, i=i: leaf[i], trained)


def _by_model(own: Any, shared: Any) -> loop.Arguments:
    """`own` where each model has arguments of its own, `shared` where all have the same."""
    return loop.Arguments(x=shared, y=own, schedule=own, rates=shared, key=own, holdout=shared)


@functools.lru_cache(maxsize=32)
def _vmapped_program(model: Model, program: Recipe):
    return jax.jit(jax.vmap(functools.partial(loop._train, model, program), in_axes=(_by_model(0, None),)))


@functools.lru_cache(maxsize=32)
def _sharded_program(model: Model, program: Recipe):
    """Each device trains its share of the models, with nothing between them."""
    mesh = Mesh(np.array(jax.local_devices()), ("models",))

    def share(given: loop.Arguments) -> loop.Trained:
        def one(own: tuple) -> loop.Trained:
            y, schedule, key = own
            return loop._train(model, program, given._replace(y=y, schedule=schedule, key=key))

        return axis.over_members(one, (given.y, given.schedule, given.key))

    specs = _by_model(PartitionSpec("models"), PartitionSpec())
    sharded = jax.shard_map(share, mesh=mesh, in_specs=(specs,), out_specs=PartitionSpec("models"), check_vma=False)
    return jax.jit(sharded)


def _fitting(model: Model, recipe: Recipe, given: loop.Arguments) -> int:
    """How many models fit an accelerator's free memory at once, `VMAP_CHUNK` where it does not say."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in stats:
        return VMAP_CHUNK
    free = FREE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.asarray(leaf).dtype), given)
    return max(1, min(VMAP_CHUNK, int(free // _bytes_of_one(model, recipe, shapes))))


def _bytes_of_one(model: Model, recipe: Recipe, shapes: loop.Arguments) -> int:
    """What one model's training takes beside the records that all share, as the compiler counts it."""
    found = loop.compiled(model, recipe).lower(shapes).compile().memory_analysis()
    own = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((shapes.y, shapes.schedule)))
    return max(1, own + (found.temp_size_in_bytes + found.output_size_in_bytes if found else 0))


_PLACEMENTS = {"threads": _threads, "devices": _on_devices, "vmap": _vmapped}


def train_stack(model: Model, recipe: Recipe, data: Examples, include: np.ndarray, key: jax.Array) -> Params:
    """Every model of a population, trained and stacked; the arguments are those of `train_many`."""
    stacked = Stack(len(include))
    for m, trained in train_many(model, recipe, data, include, key):
        stacked.put(m, trained.params)
    return stacked.whole


def checkpoints(history: Params) -> list[Params]:
    """A stack's checkpoints, first to last, from leaves [M, K, ...]; none from ()."""
    count = next((leaf.shape[1] for leaf in jax.tree.leaves(history)), 0)
    return [jax.tree.map(lambda leaf, k=k: leaf[:, k], history) for k in range(count)]
