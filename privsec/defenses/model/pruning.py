"""Small weights set to zero."""

from __future__ import annotations

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from pydantic import Field

from privsec.core.data import Examples
from privsec.core.defense import ModelDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Model, Params


class Pruning(ModelDefense):
    """Sets the smallest weights of every weight matrix to zero, without training again.

    A network with fewer numbers holds less of its records, so it is tried against inversion and membership inference;
    biases, scales and vectors are kept. What it costs is accuracy, beyond some share all of it.

    References: Han et al. 2015, arXiv 1506.02626 (pruning by magnitude).
    """

    name: Literal["pruning"] = "pruning"
    paper = "Han et al. 2015, arXiv 1506.02626"
    share: float = Field(default=0.3, ge=0, lt=1)
    """Which share of each matrix's weights goes; 0 for none."""

    def on_model(self, model: Model) -> Model:
        if self.share and model.rejects:
            raise ConfigError(
                "pruning after a detector: the detector was fitted to the network as it was, and what it keeps is no "
                "network's weights. Write pruning before it."
            )
        return model

    def on_params(self, model: Model, params: Params, public: Examples, key: jax.Array) -> Params:
        del public, key
        if self.share == 0:
            return params
        # Every leaf of an ensemble's parameters has its members in front.
        return (jax.vmap(self._prune) if model.member else self._prune)(params)

    def _prune(self, params: Params) -> Params:
        return jax.tree.map(lambda leaf: pruned(leaf, self.share) if _is_matrix(leaf) else leaf, params)


@functools.partial(jax.jit, static_argnums=1)
def pruned(weights: jax.Array, share: float) -> jax.Array:
    """`weights` with the smallest `share` (rounded to whole weights) in magnitude at zero; of equal ones the first.

    >>> pruned(jnp.array([[3.0, -1.0], [0.5, -2.0]]), 0.5).tolist()
    [[3.0, 0.0], [0.0, -2.0]]
    """
    order = jnp.argsort(jnp.abs(weights).ravel(), stable=True)
    return weights.ravel().at[order[: round(share * weights.size)]].set(0.0).reshape(weights.shape)


def _is_matrix(leaf: jax.Array) -> bool:
    return leaf.ndim > 1 and min(leaf.shape) > 1
