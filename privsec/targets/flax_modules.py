"""Targets from flax: nnx modules and linen modules with their variables. Fully in JAX, with all access."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.errors import ConfigError
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.nets.adapt import evaluation
from privsec.targets.answers import FLOOR, Answers, TargetError, check_kind, read
from privsec.targets.host import listed, stack


class Weights(NamedTuple):
    """The parameters of a Target from flax: what was `learned`, and what else it keeps (batch statistics).

    No gradient flows into `kept`.
    """

    learned: Any
    kept: Any


def from_flax(
    module: Any,
    variables: Any = None,
    *,
    num_classes: int,
    shape: Sequence[int],
    answers: Answers = "logits",
    arguments: Mapping[str, Any] | None = None,
) -> Target:
    """The Target of a trained `flax.nnx` module, or of a `flax.linen` module and its variables, with all access.

    The module is evaluated as in use: dropout is off, batch normalization takes its running statistics. The module
    itself is left as it is. A list of nnx modules, or of variables of one linen module, makes a stack. The model's
    `init` tells shapes only, and gives zeros.

    Args:
        module: called with float32 [B, ...], it returns [B, C]; of two classes also [B] or [B, 1] for the second.
        variables: of a linen module: `{"params": ..., "batch_stats": ...}`; None for nnx.
        num_classes: C.
        shape: shape of one record.
        answers: what the module returns: logits, or probabilities or log-probabilities where it ends in a softmax.
        arguments: keyword arguments of the module's call; by default those named like `train` or `deterministic` are
            given what evaluation takes.

    Raises:
        TargetError: this is no flax module, it cannot take such records, or its answer to two records of random
            features is not what `answers` says.

    >>> from flax import nnx
    >>> target = from_flax(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), num_classes=3, shape=(4,))
    >>> target.grants.title, target.params.learned["kernel"].shape
    ('weights', (4, 3))
    """
    from flax import linen, nnx

    check_kind(answers)
    if answers == "labels":
        raise ConfigError("from_flax takes modules that return one number a class; give others to from_callable")
    modules, stacked = listed(module)
    for one in modules:
        if not isinstance(one, (nnx.Module, linen.Module)):
            raise TargetError(f"{type(one).__name__} is no flax module: for other libraries use from_callable")
    if isinstance(modules[0], linen.Module):
        if len(modules) > 1 or variables is None:
            raise ConfigError(
                "a linen module holds no weights: give it as `module`, and what `module.init` made and the training "
                "changed, {'params': ...}, as `variables` (a list of these for a stack)"
            )
        each, stacked = listed(variables)
        parts = [(modules[0], *_of_linen(one)) for one in each]
    elif variables is not None:
        raise ConfigError("a flax.nnx module holds its own variables: leave `variables` out")
    else:
        parts = [_of_nnx(one) for one in modules]
    call = tuple(sorted((evaluation(modules[0]) if arguments is None else dict(arguments)).items()))
    targets = [_target(*part, call, answers, num_classes, tuple(shape)) for part in parts]
    return stack(targets) if stacked else targets[0]


@dataclass(frozen=True)
class _Program:
    """(Weights, x) -> logits. Equal programs are compiled once and can be stacked."""

    structure: Any
    """nnx graph definition, or linen module."""
    call: tuple[tuple[str, Any], ...]
    answers: Answers
    num_classes: int
    digest: str
    """Of `layout` and of the values in `constants`."""
    layout: Any = field(compare=False)
    """Shapes of the Weights."""
    constants: Any = field(compare=False)
    """Leaves of the kept state that are no floats, hence no weights: None where a leaf is one."""
    streams: Any = field(compare=False)
    """nnx random streams: part of the module, never drawn from."""

    def raw(self, weights: Weights, x: jax.Array) -> jax.Array:
        """What the module returns."""
        kept = jax.tree.map(
            lambda constant, weight: weight if constant is None else constant,
            self.constants,
            jax.lax.stop_gradient(weights.kept),
            is_leaf=lambda leaf: leaf is None,
        )
        x = jnp.asarray(x)
        if self.streams is None:
            return self.structure.apply({"params": weights.learned, **kept}, x, **dict(self.call))
        from flax import nnx

        return nnx.merge(self.structure, weights.learned, self.streams, kept)(x, **dict(self.call))

    def __call__(self, weights: Weights, x: jax.Array) -> jax.Array:
        answer = self.raw(weights, x)
        if self.num_classes == 2 and answer.size == len(x):
            second = answer.reshape(-1)
            first = jnp.zeros_like(second) if self.answers == "logits" else 1 - second
            answer = jnp.stack([first, second], axis=1)
        answer = answer.astype(jnp.float32)
        if self.answers == "probabilities":
            return jnp.log(jnp.maximum(answer, FLOOR))
        return answer if self.answers == "logits" else jnp.maximum(answer, np.log(FLOOR))

    def init(self, key: jax.Array) -> Weights:
        del key
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), self.layout)


def _of_nnx(module: Any) -> tuple[Any, Any, Any, Any]:
    """Graph definition, learned and kept variables, and random streams, in evaluation mode."""
    from flax import nnx

    module = nnx.clone(module)
    module.eval()
    graph, learned, streams, kept = nnx.split(module, nnx.Param, nnx.RngState, ...)
    return graph, nnx.to_pure_dict(learned), nnx.to_pure_dict(kept), streams


def _of_linen(variables: Mapping[str, Any]) -> tuple[Any, Any, None]:
    if "params" not in variables:
        raise ConfigError(f"`variables` is a mapping with 'params'; got one with {', '.join(variables) or 'nothing'}")
    kept = {name: collection for name, collection in variables.items() if name != "params"}
    return variables["params"], kept, None


def _target(
    structure: Any,
    learned: Any,
    kept: Any,
    streams: Any,
    call: tuple[tuple[str, Any], ...],
    answers: Answers,
    num_classes: int,
    shape: tuple[int, ...],
) -> Target:
    learned, kept = jax.tree.map(jnp.asarray, (learned, kept))
    constants = jax.tree.map(lambda leaf: None if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, kept)
    weights = Weights(
        learned, jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else None, kept)
    )
    layout = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights)
    digest = hashlib.sha256(str(jax.tree.flatten(layout)).encode())
    for leaf in jax.tree.leaves(constants):
        digest.update(np.asarray(leaf).tobytes())
    program = _Program(structure, call, answers, num_classes, digest.hexdigest(), layout, constants, streams)
    _check(program, weights, shape)
    try:
        model = _model(program, shape)
    except TypeError:  # something in the structure has no hash: it is compiled anew for each module
        model = _model.__wrapped__(program, shape)
    return Target.of(model, weights)


@functools.lru_cache(maxsize=64)
def _model(program: _Program, shape: tuple[int, ...]) -> Model:
    return Model(init=program.init, apply=program, num_classes=program.num_classes, shape=shape)


def _check(program: _Program, weights: Weights, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((2, *shape), np.float32)
    try:
        answer = program.raw(weights, jnp.asarray(x))
    except Exception as error:
        raise TargetError(
            f"the module cannot be called with records of shape {list(shape)}: {type(error).__name__}: {error}. If its "
            "call takes more than the records, pass `arguments`."
        ) from error
    read(answer, program.answers, rows=2, num_classes=program.num_classes)
