"""Records whose predicted class survives any other record laid over them are refused.

References: Gao et al. 2019, "STRIP: a defence against trojan attacks on deep neural networks", arXiv 1902.06531.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Array, Examples
from privsec.core.errors import DataError
from privsec.core.recipe import Model, Params
from privsec.defenses.model.detector import Detector
from privsec.ops.representation import Look


class Strip(Detector):
    """Refuses records whose predictions hardly differ when public records are laid over them.

    `H(x) = -(1/N) sum_n sum_c p_nc log2 p_nc` over N blends of x with public records; a trigger keeps deciding under
    them, so that H is small. Suspicion is log2 K - H, from 0 (any class is as likely) to log2 K (always the same class,
    surely). Pictures are added and cut off at 1, as the paper's are; of tables the mean is taken. A random model is
    judged by one fixed version of it.

    References: Gao et al. 2019, arXiv 1902.06531; Carlini & Wagner 2017, arXiv 1705.07263 (the attack on both at once).
    """

    name: Literal["strip"] = "strip"
    paper = "Gao et al. 2019, arXiv 1902.06531"
    learns: ClassVar[bool] = False
    blends: int = Field(default=32, ge=1)
    """N: public records laid over each record; each costs one pass through the model."""

    def look(self, model: Model, followed: bool) -> Look:
        del followed
        classes = model.num_classes - model.rejects

        def seen(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            def add(total: jax.Array, clean: jax.Array) -> tuple[jax.Array, None]:
                logits = model.apply(params, blended(x, clean))
                return total + entropy(jax.nn.softmax(logits[:, :classes])), None

            start = jnp.zeros(len(x))
            if model.meter is None:
                total, _ = jax.lax.scan(add, start, params["clean"])
            else:
                total = functools.reduce(lambda total, clean: add(total, clean)[0], params["clean"], start)
            return model.apply(params, x), (total / len(params["clean"]))[:, None]

        return seen

    def suspicion(self, fitted: dict[str, jax.Array], evidence: jax.Array) -> jax.Array:
        return jnp.maximum(fitted["most"] - evidence[:, 0], 0.0)

    def fit(self, evidence: np.ndarray, y: np.ndarray, classes: int) -> dict[str, jax.Array]:
        del evidence, y
        return self.unfitted(0, classes)

    def unfitted(self, width: int, classes: int) -> dict[str, jax.Array]:
        del width
        return {"most": jnp.float32(math.log2(classes))}

    def on_model(self, model: Model) -> Model:
        return model if self.fpr == 0 else super().on_model(_beside(model, self.blends))

    def on_params(self, model: Model, params: Params, public: Examples, key: jax.Array) -> Params:
        if self.fpr == 0:
            return params
        if public.size <= self.blends:
            raise DataError(
                f"strip lays {self.blends} public records over others and needs more of them for its threshold, and "
                f"there are {public.size}. Give more, or lower blends."
            )
        order = keys.generator(keys.derive(key, "blends")).permutation(public.size)
        over, rest = np.sort(order[: self.blends]), np.sort(order[self.blends :])
        inner = {"net": params, "clean": jnp.asarray(np.asarray(public.x, np.float32)[over])}
        return super().on_params(_beside(model, self.blends), inner, public.take(rest), key)


def blended(x: Float[Array, " B *features"], clean: Float[Array, " *features"]) -> Float[jax.Array, " B *features"]:
    """Records with one clean record laid over them: of pictures [H, W, C] in [0, 1] the sum, cut off; else the mean."""
    return jnp.minimum(jnp.asarray(x) + clean, 1.0) if x.ndim == 4 else (jnp.asarray(x) + clean) / 2


def entropy(p: Float[Array, "B C"]) -> Float[jax.Array, " B"]:
    """Shannon entropy in bits of each row, from 0 to log2 C.

    >>> entropy(jnp.array([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])).round(3).tolist() == [2.0, 0.0]
    True
    """
    p = jnp.asarray(p)
    return -jnp.sum(jnp.where(p > 0, p * jnp.log2(jnp.maximum(p, jnp.finfo(p.dtype).tiny)), 0.0), axis=-1)


@functools.lru_cache(maxsize=64)
def _beside(model: Model, blends: int) -> Model:
    """The model with N public records among its parameters."""

    def init(key: jax.Array) -> Params:
        return {"net": model.init(key), "clean": jnp.zeros((blends, *model.shape))}

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return model.apply(params["net"], x)

    def draw(params: Params, x: jax.Array, own: jax.Array) -> jax.Array:
        assert model.draw is not None
        return model.draw(params["net"], x, own)

    return replace(
        model,
        init=init,
        apply=apply,
        draw=None if model.draw is None else draw,
        tapped=None,
        layers=(),
        certify=None,
        votes=None,
        adapted=None if model.adapted is None else _beside(model.adapted, blends),
    )
