"""What stands in front of a model and changes what it reads, and what an attacker who knows of it does about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax

from privsec.core.recipe import Model, Params, Tap

Change = Callable[[jax.Array], jax.Array]
"""x [B, ...] -> x [B, ...], row by row."""


def in_front(
    model: Model,
    change: Change,
    followed: Change | None = None,
    drawn: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Model:
    """`model` reading changed inputs, with the same parameters; it claims no certificate.

    Whatever the model already is - random, rejecting, adapted, open in its layers - it stays behind the change. Not
    cached: call it from a function that is.

    Args:
        model: a model, defended or not.
        change: what it reads instead.
        followed: `change` with gradients worth following; None where its own will do.
        drawn: (x [B, ...], keys [B]) -> x, for a random change, of which `change` is one version.
    """
    shown = _reading(model, change, drawn)
    if followed is None and model.adapted is None:
        return shown
    return replace(shown, adapted=_reading(model.adapted or model, followed or change, drawn))


def _reading(model: Model, change: Change, drawn: Callable[[jax.Array, jax.Array], jax.Array] | None) -> Model:
    def apply(params: Params, x: jax.Array) -> jax.Array:
        return model.apply(params, change(x))

    def draw(params: Params, x: jax.Array, keys: jax.Array) -> jax.Array:
        if drawn is None:
            read, rest = change(x), keys
        else:
            own, rest = (jax.vmap(jax.random.fold_in, (0, None))(keys, part) for part in range(2))
            read = drawn(x, own)
        return model.apply(params, read) if model.draw is None else model.draw(params, read, rest)

    def tapped(params: Params, x: jax.Array, deltas=None) -> tuple[jax.Array, dict[str, Tap]]:
        assert model.tapped is not None
        return model.tapped(params, change(x), deltas)

    return replace(
        model,
        apply=apply,
        draw=None if drawn is None and model.draw is None else draw,
        tapped=None if model.tapped is None else tapped,
        adapted=None,
        certify=None,
        votes=None,
    )
