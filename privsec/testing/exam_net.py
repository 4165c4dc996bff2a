"""What every net has to pass: pure functions of its parameters, records kept apart, every parameter behind a tap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.errors import ConfigError
from privsec.core.recipe import Model
from privsec.nets.base import Net, model_of
from privsec.testing.exam import Check, examine, is_documented, is_its_config, rebuilt, require

SHAPE = (8, 8, 2)
CLASSES = 3
ROUNDING = 1e-4


def examine_net(net: Net, *, skip: Iterable[str] = ()) -> None:
    """Holds an architecture, at a small size, against everything that privsec expects of one.

    Args:
        net: the Spec, for example `MLP(hidden=(16,))`.
        skip: names of `NET_CHECKS` that do not apply.

    Raises:
        AssertionError: which requirements it misses, and what to do.

    >>> from privsec.nets.mlp import MLP
    >>> examine_net(MLP(hidden=(4,)))
    """
    examine(net, NET_CHECKS, skip)


def config(net: Net) -> None:
    """A net is its config, and equal configs are one Model."""
    is_its_config(net)
    is_documented(net)
    require(_model(net) is _model(rebuilt(net)), "equal nets must give the same Model object")  # type: ignore[arg-type]


def shapes(net: Net) -> None:
    """A net reads records of any shape that its `check` allows and gives one logit a class."""
    for shape in (SHAPE, (9, 11, 1), (7,)):
        try:
            model = model_of(net, shape, CLASSES)
        except ConfigError:
            require(shape != SHAPE, f"it refuses images of shape {list(SHAPE)}")
            continue
        params = jax.eval_shape(model.init, jax.random.key(0))
        logits = jax.eval_shape(model.apply, params, jnp.ones((2, *shape)))
        require(logits.shape == (2, CLASSES), f"logits have shape {logits.shape}, [B, C] is {(2, CLASSES)}")


def initialization(net: Net) -> None:
    """Parameters are a function of the key, and all float32."""
    init = jax.jit(_model(net).init)
    first, again, other = (init(jax.random.key(seed)) for seed in (0, 0, 1))
    require(
        all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(first)), "parameters must be float32 and nothing else"
    )
    require(_equal(first, again), "two initializations with one key differ: draw from `rngs` only")
    require(not _equal(first, other), "another key gives the same parameters: draw from `rngs`")


def separation(net: Net) -> None:
    """A record's logits do not depend on the other records of its batch."""
    model, x = _model(net), _queries()
    params, apply = jax.jit(model.init)(jax.random.key(0)), jax.jit(model.apply)
    whole = apply(params, x)
    require(np.isfinite(whole).all(), "logits of fresh parameters are not finite")
    require(
        np.allclose(whole[0], apply(params, x.at[1:].multiply(3.0))[0], atol=ROUNDING),
        "a record's logits change with its batch, so per-example gradients mean nothing: use GroupNorm, not BatchNorm",
    )


def taps(net: Net) -> None:
    """The tapped layers cover every parameter once, and looking does not change the answer."""
    model, x = _model(net), _queries()
    require(
        model.tapped is not None,
        "it exposes no layers: build it from privsec.nets.layers and hand every layer the `tap`",
    )
    assert model.tapped is not None
    params = jax.jit(model.init)(jax.random.key(0))
    _, seen = jax.eval_shape(model.tapped, params, x, None)
    names = [layer.name for layer in model.layers]
    require(sorted(seen) == sorted(names) and len(set(names)) == len(names), "some layer was not called with the `tap`")
    owned = [tuple(_path(path)) for layer in model.layers for path, _ in _leaves(params, layer.path)]
    every = [_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    require(
        sorted(map(str, owned)) == sorted(map(str, every)),
        "the tapped layers do not hold every parameter exactly once: DP-SGD would leave some unclipped",
    )
    zeros = {name: jnp.zeros(tap.outputs.shape) for name, tap in seen.items()}
    logits, _ = jax.jit(model.tapped)(params, x, zeros)
    require(np.allclose(logits, jax.jit(model.apply)(params, x), atol=ROUNDING), "logits with and without taps differ")


def _model(net: Net) -> Model:
    return model_of(net, SHAPE, CLASSES)


def _queries() -> jax.Array:
    return jax.random.uniform(jax.random.key(2), (4, *SHAPE))


def _equal(a: object, b: object) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _path(path: tuple) -> tuple[str, ...]:
    return tuple(str(getattr(step, "key", step)) for step in path)


def _leaves(params: dict, path: tuple[str | int, ...]) -> list[tuple[tuple, jax.Array]]:
    """The leaves below `path`, with their whole paths."""
    here = params
    for step in path:
        here = here[step]
    return [((*path, *rest), leaf) for rest, leaf in jax.tree_util.tree_leaves_with_path(here)]


NET_CHECKS: Mapping[str, Check[Net]] = {
    check.__name__: check for check in (config, shapes, initialization, separation, taps)
}
"""The requirements by name."""
