"""What all detectors share: a threshold with a stated rate of false alarms, a refusal, and the joint logits.

The model as served answers with one more class, "refused", and tells nothing else of a record it refuses. An attacker
who knows of the detector attacks both at once (Carlini & Wagner 2017, arXiv 1705.07263): logits whose last column is
the largest exactly where the detector refuses, and differentiable as far as the detector is.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Array, Examples
from privsec.core.defense import ModelDefense
from privsec.core.errors import DataError
from privsec.core.recipe import Model, Params
from privsec.ops.representation import Look, features

SURE = 20.0
"""By how many logits a refusal stands above the classes, or below them."""
TINY = 1e-6
"""Keeps the logarithm of a suspicion of zero finite."""
CHUNK = 1024
"""Public records looked at in one call."""


class Detector(ModelDefense):
    """Base: refuses records that are more suspicious than all but a share `fpr` of the defender's own."""

    learns: ClassVar[bool] = True
    """Whether something is fitted to public records: one half of them then, and the other half sets the threshold."""

    fpr: float = Field(default=0.05, ge=0, lt=1)
    """Which share of clean records may be refused; 0 refuses none."""

    def look(self, model: Model, followed: bool) -> Look:
        """What the detector judges by; `followed`: equal in value, with gradients worth following."""
        del followed
        return features(model)

    def fit(self, evidence: np.ndarray, y: np.ndarray, classes: int) -> dict[str, jax.Array]:
        """What is kept of public records: `evidence` float32 [N, F], labels [N]."""
        del evidence, y, classes
        return {}

    def unfitted(self, width: int, classes: int) -> dict[str, jax.Array]:
        """Something of the kind that `fit` returns, for evidence of `width` F."""
        del width, classes
        return {}

    @abc.abstractmethod
    def suspicion(self, fitted: dict[str, jax.Array], evidence: jax.Array) -> jax.Array:
        """How suspicious each record is [B], not negative, by its evidence [B, F]."""

    def on_model(self, model: Model) -> Model:
        return model if self.fpr == 0 else _guarded(self, model)

    def on_params(self, model: Model, params: Params, public: Examples, key: jax.Array) -> Params:
        if self.fpr == 0:
            return params
        order = keys.generator(key).permutation(public.size)
        half = public.size // 2 if self.learns else 0
        evidence, y = _evidence(self, model, params, np.asarray(public.x)), np.asarray(public.y)
        fitting, setting = order[:half], order[half:]
        fitted = self.fit(evidence[fitting], y[fitting], model.num_classes - model.rejects)
        clean = np.asarray(_suspicion(self, fitted, evidence[setting]))
        return {"inner": params, "detector": fitted, "threshold": jnp.float32(threshold(clean, self.fpr))}


def threshold(clean: Float[np.ndarray, " N"], fpr: float) -> float:
    """What the next clean record exceeds with a probability of at most `fpr`: the ceil((N + 1)(1 - fpr))-th smallest.

    Raises:
        DataError: there are too few records to say.

    References: Vovk, Gammerman & Shafer 2005, doi 10.1007/b106715 (split conformal prediction).

    >>> threshold(np.arange(1.0, 100.0), 0.05)
    95.0
    """
    rank = math.ceil((len(clean) + 1) * (1 - fpr) - 1e-9)
    if rank > len(clean):
        raise DataError(
            f"{len(clean)} public records are too few to set a threshold with {fpr:.2%} false alarms. Give the "
            f"defender at least {math.ceil((1 - fpr) / fpr)} of them for the threshold, or allow more false alarms."
        )
    return float(np.sort(clean)[rank - 1])


def refusing(logits: Float[Array, "B C"], refuse: Bool[Array, " B"], rejects: bool) -> Float[jax.Array, "B _"]:
    """The logits, a last column for "refused" beside them; where `refuse` holds, nothing but that.

    Args:
        logits: of the model behind the detector.
        refuse: the detector's decision.
        rejects: whether the model behind it refuses records too, in its last column.
    """
    beside = logits if rejects else jnp.concatenate([logits, jnp.max(logits, -1, keepdims=True) - SURE], -1)
    refusal = jnp.zeros(beside.shape[-1]).at[-1].set(SURE)
    return jnp.where(refuse[:, None], refusal, beside)


def joint(logits: Float[Array, "B C"], excess: Float[Array, " B"], rejects: bool) -> Float[jax.Array, "B _"]:
    """Logits of classifier and detector together; the last column is the largest exactly where `excess` > 0.

    z_refused = max_c z_c + excess * (max_c z_c - mean_c z_c): Carlini & Wagner's (1 + D) max_c z_c for logits centered
    round 0, which makes it hold for logits of any sign. The factor carries no gradient: where all classes are alike it
    is zero, and an attacker would be led there, to be refused still, instead of to where the excess is none.

    Args:
        logits: of the model behind the detector.
        excess: by how much a record is too suspicious, in any unit; differentiable.
        rejects: whether the model behind it refuses records too; the larger of both refusals counts.
    """
    classes = logits[:, : logits.shape[-1] - rejects]
    most = jnp.max(classes, axis=-1)
    refused = most + excess * jax.lax.stop_gradient(most - jnp.mean(classes, axis=-1))
    refused = jnp.maximum(refused, logits[:, -1]) if rejects else refused
    return jnp.concatenate([classes, refused[:, None]], axis=-1)


@functools.lru_cache(maxsize=64)
def _guarded(detector: Detector, model: Model) -> Model:
    classes = model.num_classes - model.rejects

    def facing(inner: Model, look: Look, answer: Callable[[jax.Array, jax.Array], jax.Array]) -> Model:
        def excess(params: Params, evidence: jax.Array) -> jax.Array:
            suspicion = detector.suspicion(params["detector"], evidence)
            return jnp.log(suspicion + TINY) - jnp.log(params["threshold"] + TINY)

        def apply(params: Params, x: jax.Array) -> jax.Array:
            logits, evidence = look(params["inner"], x)
            return answer(logits, excess(params, evidence))

        def draw(params: Params, x: jax.Array, own: jax.Array) -> jax.Array:
            assert inner.draw is not None
            return answer(inner.draw(params["inner"], x, own), excess(params, look(params["inner"], x)[1]))

        return replace(
            inner,
            init=init,
            apply=apply,
            num_classes=classes + 1,
            tapped=None,
            layers=(),
            draw=None if inner.draw is None else draw,
            rejects=True,
            adapted=None,
            certify=None,
            votes=None,
        )

    def init(key: jax.Array) -> Params:
        inner = model.init(key)
        x = jax.ShapeDtypeStruct((1, *model.shape), jnp.float32)
        width = 1 if model.meter else jax.eval_shape(features(model), inner, x)[1].shape[-1]
        return {
            "inner": inner,
            "detector": detector.unfitted(width, classes),
            "threshold": jnp.float32(np.finfo(np.float32).max / 2),
        }

    rejects = model.rejects
    served = facing(model, detector.look(model, False), lambda logits, excess: refusing(logits, excess > 0, rejects))
    known = facing(
        model.adapted or model, _followed(detector, model), lambda logits, excess: joint(logits, excess, rejects)
    )
    return replace(served, adapted=known)


def _followed(detector: Detector, model: Model) -> Look:
    """The detector's evidence with gradients worth following: those of the adapted model, where there is one."""
    if model.adapted is None:
        return detector.look(model, True)
    own, adapted = detector.look(model, False), detector.look(model.adapted, True)

    def seen(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, followed = adapted(params, x)
        judged = own(params, x)[1]
        if followed.shape != judged.shape:  # the adapted model does not show its layers
            return logits, judged
        # It decides alike, but its numbers may differ (logits over a temperature), and the threshold is for these.
        return logits, followed + jax.lax.stop_gradient(judged - followed)

    return seen


@functools.partial(jax.jit, static_argnums=0)
def _suspicion(detector: Detector, fitted: dict[str, jax.Array], evidence: jax.Array) -> jax.Array:
    return detector.suspicion(fitted, evidence)


@functools.lru_cache(maxsize=64)
def _compiled_look(detector: Detector, model: Model) -> Look:
    look = detector.look(model, False)
    return look if model.meter else jax.jit(look)


def _evidence(detector: Detector, model: Model, params: Params, x: np.ndarray) -> np.ndarray:
    look, size = _compiled_look(detector, model), min(CHUNK, len(x))
    parts = []
    for start in range(0, len(x), size):
        rows = np.arange(start, start + size)
        rows = rows[rows < len(x)] if model.meter else np.minimum(rows, len(x) - 1)  # one shape, also for the last
        parts.append(np.asarray(look(params, jnp.asarray(x[rows], jnp.float32))[1]))
    return np.concatenate(parts)[: len(x)]
