"""The gradient-norm attack: training has made the loss's gradient at a member small, layer by layer.

References:
    Nasr, Shokri, Houmansadr 2019, "Comprehensive privacy analysis of deep learning", arXiv 1812.00910.
    Carlini et al. 2022, "Membership inference attacks from first principles", arXiv 2112.03570, appendix on white-box
    attacks (the norm adds to the AUC, hardly to the low false-positive rates).
"""

from __future__ import annotations

import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, Int

from privsec.attacks.membership import shadows
from privsec.attacks.membership.lira import likelihood_ratio
from privsec.core import axis
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Examples
from privsec.core.evidence import MembershipScores
from privsec.core.recipe import Batch, Model, Params
from privsec.core.signals import margin
from privsec.core.target import Target
from privsec.ops import clip

CHUNK = 512
"""Records of one backward pass; bounds the memory, never changes a number."""
GROUP = 16
"""Records whose whole gradients are held at once where the norm of each layer is asked for."""
SMALLEST = 1e-6
"""A gradient of the margin smaller than this is rounding: the bias of the last layer alone makes it 1."""


class GradientNorm(Attack):
    """The norm of the gradient of a record's loss by the parameters, against what it is on references."""

    name: Literal["gradient_norm"] = "gradient_norm"
    by_layer: bool = False
    """Takes the norm of each layer's gradient instead of the whole one's; their scores are averaged."""
    calibrated: bool = True
    """Gaussian likelihood ratio of the logarithm of the norm under IN and OUT references. False takes the norm itself
    (small = member) and needs no references."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.WEIGHTS
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "references"})
    paper: ClassVar[str] = "Nasr et al. 2019, arXiv 1812.00910; Carlini et al. 2022, arXiv 2112.03570"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        del key
        candidates = shadows.candidates_of(knowledge)

        def norms(models: Target) -> Float[np.ndarray, "T N L"]:
            return log_gradient_norms(models, candidates, by_layer=self.by_layer)

        if not self.calibrated:
            return MembershipScores(-norms(target).mean(axis=-1))
        seen = shadows.ask(target, knowledge, norms, inside=2, outside=2)  # a spread takes two values
        ratios = [
            likelihood_ratio(seen.target[..., k], seen.references[..., k], *seen[2:], variance="shrunk")
            for k in range(seen.target.shape[-1])
        ]
        return MembershipScores(np.mean(ratios, axis=0))


def log_gradient_norms(target: Target, records: Examples, *, by_layer: bool = False) -> Float64[np.ndarray, "T N L"]:
    """log |d loss_n / d parameters| for each model and record; the loss is the cross-entropy of the record's label.

    The loss hangs on the parameters through the margin m alone: d loss = -sigmoid(-m) dm. The first factor is taken in
    logarithms, so a norm of 1e-100 keeps its digits.

    Args:
        target: models whose weights are known.
        records: N records.
        by_layer: the norms of the L layers' gradients; else L = 1, the norm of the whole gradient.
    """
    params, chunk = target.params, min(CHUNK, records.size)

    def of_model(t: int) -> Float64[np.ndarray, "N L"]:
        mine = params if target.size is None else jax.tree.map(lambda leaf: leaf[t], params)
        parts = []
        for start in range(0, records.size, chunk):
            rows = np.minimum(np.arange(start, start + chunk), records.size - 1)  # one shape, also for the last chunk
            parts.append(jax.device_get(_norms(target.model, mine, records.x[rows], records.y[rows], by_layer)))
        phi, norms = (np.concatenate(part)[: records.size].astype(np.float64) for part in zip(*parts, strict=True))
        return np.log(np.maximum(norms, SMALLEST)) - np.logaddexp(0.0, phi)[:, None]

    found = dict(axis.over_models(of_model, range(target.size or 1)))
    return np.stack([found[t] for t in sorted(found)])


@functools.partial(jax.jit, static_argnames=("model", "by_layer"))
def _norms(
    model: Model, params: Params, x: Float[jax.Array, " B *features"], y: Int[jax.Array, " B"], by_layer: bool
) -> tuple[Float[jax.Array, " B"], Float[jax.Array, "B L"]]:
    """The margins, and the norms of their gradients."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    phi = margin(model.apply(params, x), y)
    if by_layer:
        return phi, jax.lax.map(lambda record: _layer_norms(model, params, *record), (x, y), batch_size=GROUP)
    batch = Batch(x, jax.nn.one_hot(y, model.num_classes), jnp.ones(len(y)))
    return phi, clip.clipped_sum(model, _negative_margin, params, batch, jnp.inf)[1][:, None]


def _negative_margin(logits: Float[jax.Array, "B C"], y: Float[jax.Array, "B C"]) -> Float[jax.Array, " B"]:
    return -margin(logits, jnp.argmax(y, axis=-1))


def _layer_norms(
    model: Model, params: Params, x: Float[jax.Array, " *features"], y: Int[jax.Array, ""]
) -> Float[jax.Array, " L"]:
    """One record's; parameters that lie in one place of the tree (a kernel and its bias) are one layer."""
    gradient = jax.grad(lambda params: margin(model.apply(params, x[None]), y[None])[0])(params)
    squares: dict[tuple, jax.Array] = {}
    for path, leaf in jax.tree.leaves_with_path(gradient):
        layer = path[:-1] or path
        squares[layer] = squares.get(layer, jnp.zeros(())) + jnp.sum(jnp.square(leaf))
    return jnp.sqrt(jnp.stack(list(squares.values())))
