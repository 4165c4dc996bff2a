"""From an unmodified flax.linen module to a Model that shows its layers.

`nn.intercept_methods` stands in front of each layer that is known (`KNOWN`), as long as it does what its class says by
default, and computes it as the linear map that it is. What is found is believed only after a probe: on random numbers,
taps must give the very gradients, record by record, that differentiation gives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.linear import canonicalize_padding

from privsec.core.errors import ConfigError
from privsec.core.recipe import Layer, Model, Params, Tap
from privsec.nets.adapt import evaluation, refuse_state, without_dropout, without_taps
from privsec.nets.convolutions import windows
from privsec.nets.layers import Taps
from privsec.nets.probe import PROBES, probed

Call = tuple[tuple[str, Any], ...]


def from_linen(
    module: nn.Module, shape: tuple[int, ...], num_classes: int, *, arguments: Mapping[str, Any] | None = None
) -> Model:
    """The Model of a flax.linen module, called with float32 [B, ...]; it returns logits [B, C].

    Dense, Conv and the normalizations over one record are tapped, so DP-SGD clips in one backward pass. Where a layer
    is used twice, or a parameter belongs to none of these, the Model has no taps and a warning says why: clipping is
    then by per-example gradients, equal and slower.

    The same object for equal arguments, so that it is compiled once. A Model keeps no state and draws nothing: dropout
    is off, which a warning says, and batch normalization is refused.

    Args:
        module: without its variables.
        shape: shape of one record.
        num_classes: C.
        arguments: keyword arguments of the module's call; by default those named like `train` or `deterministic` are
            given what evaluation takes.

    Raises:
        ConfigError: the module cannot be called like this, keeps state, or lets a record's logits hang on others.
    """
    call = tuple(sorted((evaluation(module) if arguments is None else dict(arguments)).items()))
    make = _model
    try:
        hash((module, call))
    except TypeError:  # a list among its fields, say: each call makes a Model of its own
        make = _model.__wrapped__
    return make(module, tuple(shape), num_classes, call)


@functools.lru_cache(maxsize=64)
def _model(module: nn.Module, shape: tuple[int, ...], num_classes: int, call: Call) -> Model:
    given, x = dict(call), jax.ShapeDtypeStruct((PROBES, *shape), jnp.float32)
    name = type(module).__name__

    def init(key: jax.Array) -> Params:
        made = module.init(key, jnp.zeros((1, *shape)), **given)
        return nn.meta.unbox(made.get("params", {}))

    try:
        kept = set(jax.eval_shape(lambda key: module.init(key, jnp.zeros((1, *shape)), **given), jax.random.key(0)))
        refuse_state(name, kept - {"params"})
        params = jax.eval_shape(init, jax.random.key(0))
        dropouts = _Dropouts()
        with nn.intercept_methods(dropouts):
            answer = jax.eval_shape(lambda params, x: module.apply({"params": params}, x, **given), params, x)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{name} cannot be called with records of shape {list(shape)}: {type(error).__name__}: {error}. If its "
            "call takes more than the records, pass `arguments`; what draws random numbers must be off."
        ) from error
    if getattr(answer, "shape", None) != (PROBES, num_classes):
        raise ConfigError(
            f"{name} returns {getattr(answer, 'shape', type(answer).__name__)} for {PROBES} records, not "
            f"{(PROBES, num_classes)}: one logit for each of {num_classes} classes."
        )
    if dropouts.found:
        without_dropout(name)

    def passed(params: Params, x: jax.Array, watch: _Watch) -> jax.Array:
        with nn.intercept_methods(watch):
            return module.apply({"params": params}, jnp.asarray(x), **given)  # type: ignore[return-value]

    def tapped(
        params: Params, x: jax.Array, deltas: Mapping[str, jax.Array] | None = None
    ) -> tuple[jax.Array, dict[str, Tap]]:
        taps = Taps(deltas)
        return passed(params, x, _Watch(taps, [])), taps.seen

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return passed(params, x, _Watch(Taps(watching=False), []))

    plain = Model(init=init, apply=apply, num_classes=num_classes, shape=shape)
    reason, watch = None, _Watch(Taps(), [])
    try:
        jax.eval_shape(lambda params, x: (passed(params, x, watch), watch.taps.seen), params, x)
    except (ValueError, jax.errors.JAXTypeError) as error:
        reason = f"its layers cannot be tapped ({type(error).__name__}: {str(error).splitlines()[0]})"
    reason = reason or _uncovered(params, watch.layers)
    model = plain if reason else replace(plain, tapped=tapped, layers=tuple(watch.layers))
    found = probed(model, params)
    if not found.apart:
        raise ConfigError(
            f"a record's logits of {name} change with the other records of its batch, so per-example gradients mean "
            "nothing. Normalize by GroupNorm or LayerNorm, and keep the first axis for records."
        )
    if reason is None and not found.agrees:
        reason = (
            "what its layers see does not make its gradient; a parameter is changed or used outside of its layer, a "
            "layer's first axis is not the records', or a transform (nn.remat, nn.scan) stands round it"
        )
    if reason is None:
        return model
    without_taps(name, reason)
    return plain


def _uncovered(params: Params, layers: list[Layer]) -> str | None:
    """Why the layers do not hold every parameter exactly once; None where they do."""
    held = {(*layer.path, leaf) for layer in layers for leaf in _leaves(layer)}
    every = [tuple(step.key for step in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    left = ["/".join(path) for path in every if path not in held]
    return f"no known layer holds {', '.join(left[:3])}{' and others' if len(left) > 3 else ''}" if left else None


def _leaves(layer: Layer) -> list[str]:
    return [leaf for leaf in ("kernel" if layer.kind == "dense" else "scale", "bias") if leaf not in layer.absent]


@dataclass
class _Dropouts:
    """Whether any layer drops units, or would in training."""

    found: bool = False

    def __call__(self, following: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        self.found |= isinstance(context.module, nn.Dropout) and context.module.rate > 0
        return following(*args, **kwargs)


@dataclass
class _Label:
    label: str


@dataclass
class _Watch:
    """Stands in front of every method: known layers go through the taps and are listed."""

    taps: Taps
    layers: list[Layer]

    def __call__(self, following: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        known = KNOWN.get(type(module))
        if context.method_name != "__call__" or known is None or len(args) != 1 or kwargs:
            return following(*args, **kwargs)
        own = module.variables.get("params", {})
        if not own or not known.takes(module, args[0]):
            return following(*args, **kwargs)
        if not self.taps.watching and not known.faster(args[0], own):
            return following(*args, **kwargs)
        path = module.scope.path  # type: ignore[union-attr]  # where the parameters lie, also in a shared scope
        layer = Layer("/".join(path) or type(module).__name__, known.kind, path)
        self.layers.append(layer._replace(absent=tuple(leaf for leaf in _leaves(layer) if leaf not in own)))
        return self.taps(_Label(layer.name), *known.computed(module, own, args[0]))


@dataclass(frozen=True)
class _Known:
    """A layer that is one linear map.

    Attributes:
        kind: as in `Layer`.
        options: fields that `computed` heeds; every other one must be at its default.
        computed: (module, its parameters, x) -> (what the map is applied to, what it makes).
    """

    kind: str
    options: frozenset[str]
    computed: Callable[[Any, Mapping[str, jax.Array], jax.Array], tuple[jax.Array, jax.Array]]

    def takes(self, module: nn.Module, x: jax.Array) -> bool:
        """Whether the layer is what its class says by default, and x has the usual axes."""
        if type(module) is nn.Conv and (x.ndim != len(_size(module)) + 2 or module.padding in ODD_PADDINGS):
            return False
        return all(
            _usual(getattr(module, each.name), each.default)
            for each in fields(module)  # type: ignore[arg-type]
            if each.name not in self.options | {"parent", "name"}
        )

    def faster(self, x: jax.Array, own: Mapping[str, jax.Array]) -> bool:
        """Whether the layer is better computed here where nobody looks: convolutions on a CPU are."""
        return self.computed is _convolution and jax.default_backend() == "cpu"


def _usual(value: Any, default: Any) -> bool:
    simple = isinstance(value, (bool, int, float, str))  # what equals something else is never an array
    return value is default or value is jnp.float32 or (simple and value == default)


ODD_PADDINGS = ("CIRCULAR", "REFLECT", "CAUSAL")


def _size(module: nn.Conv) -> tuple[int, ...]:
    return (module.kernel_size,) if isinstance(module.kernel_size, int) else tuple(module.kernel_size)


def _dense(module: nn.Dense, own: Mapping[str, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x, x @ own["kernel"] + own.get("bias", 0.0)


def _convolution(module: nn.Conv, own: Mapping[str, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    size = _size(module)

    def each(option: Any) -> tuple[int, ...]:
        option = 1 if option is None else option
        return (option,) * len(size) if isinstance(option, int) else tuple(option)

    strides, dilation = each(module.strides), each(module.kernel_dilation)
    padding = canonicalize_padding(module.padding, len(size))
    if isinstance(padding, str):
        reach = [(places - 1) * step + 1 for places, step in zip(size, dilation, strict=True)]
        padding = jax.lax.padtype_to_pads(x.shape[1:-1], reach, strides, padding)
    seen = windows(x, size, strides, padding, dilation)
    return seen, seen @ own["kernel"].reshape(-1, module.features) + own.get("bias", 0.0)


def _normalization(module: Any, own: Mapping[str, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    bare = {name: False for name in ("use_scale", "use_bias") if hasattr(module, name)}
    seen = module.clone(parent=None, name=None, **bare).apply({}, x)  # no parameters: it is not intercepted again
    return seen, seen * own.get("scale", 1.0) + own.get("bias", 0.0)


_NORM = {"use_scale", "use_bias", "scale_init", "bias_init", "epsilon", "use_fast_variance"}
_DENSE = {"features", "use_bias", "kernel_init", "bias_init"}
KNOWN = {
    nn.Dense: _Known("dense", frozenset(_DENSE), _dense),
    nn.Conv: _Known(
        "dense", frozenset(_DENSE | {"kernel_size", "strides", "padding", "kernel_dilation"}), _convolution
    ),
    nn.LayerNorm: _Known("scale", frozenset(_NORM | {"reduction_axes"}), _normalization),
    nn.RMSNorm: _Known("scale", frozenset(_NORM | {"reduction_axes"}), _normalization),
    nn.GroupNorm: _Known("scale", frozenset(_NORM | {"num_groups", "group_size", "reduction_axes"}), _normalization),
    nn.InstanceNorm: _Known("scale", frozenset(_NORM), _normalization),
}
"""The layers that are tapped, by their very class: a subclass may do anything."""
