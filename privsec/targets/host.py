"""Targets that answer outside of JAX: any function from records to answers, and stacks of such models."""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from privsec.core.access import Access
from privsec.core.errors import AccessError, ConfigError, PrivsecError
from privsec.core.meter import Meter
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.targets.answers import FLOOR, GRANTS, Answers, TargetError, check_kind, read

Predict = Callable[[np.ndarray], Any]
"""float32 [B, ...] -> the answers to these records, as `Answers` has them."""


def from_callable(
    predict: Predict | Sequence[Predict],
    *,
    num_classes: int,
    shape: Sequence[int],
    answers: Answers = "probabilities",
    batch_size: int = 4096,
    budget: int | None = None,
    grants: Access | None = None,
    floor: float = FLOOR,
) -> Target:
    """The Target of a function on NumPy arrays: the way in for any model at all.

    Every answer is checked. One thread at a time asks one function. The Target can neither be compiled nor
    differentiated, and attacks that need gradients or weights do not apply.

    Args:
        predict: float32 [B, ...] -> [B, C], or [B] labels; of two classes also [B] or [B, 1] for the second one. It
            may keep or change the array it gets. A list of functions makes a stack.
        num_classes: C.
        shape: shape of one record.
        answers: what `predict` returns. Logits are best, for they lose no digits. Probabilities do where only one
            class's is known: next to 1, float32 tells nothing finer than 6e-8, a margin of 16.6.
        batch_size: records of one call of `predict`, at most.
        budget: how many records may be asked about, over all models of a stack; None for no limit. A question is
            charged as a whole before `predict` is called.
        grants: the most that an attacker may ask, where that is less than the answers give (labels, scores or logits).
        floor: what a smaller probability is taken to be. For shares of votes (a forest of n trees, k neighbors), where
            zero only means "too few to be seen", something like 1 / (2 n) is more sensible than the default.

    Raises:
        ConfigError: an argument is wrong.
        TargetError: when asked: the model raised an exception, or its answer is not what `answers` says.
        QueryBudgetExceeded: when asked: the budget does not suffice.

    >>> import numpy as np
    >>> target = from_callable(lambda x: 1 / (1 + np.exp(-x[:, 0])), num_classes=2, shape=(3,))
    >>> target.labels(np.eye(3, dtype=np.float32) - 0.5).tolist(), target.spent, target.grants.title
    ([1, 0, 0], 3, 'scores')
    """
    check_kind(answers)
    predicts, stacked = listed(predict)
    if not all(map(callable, predicts)):
        raise ConfigError(f"`predict` is a function from records to answers, or a list of them; got {predict!r}")
    if batch_size < 1 or num_classes < 2:
        raise ConfigError(f"batch_size is at least 1 and num_classes at least 2; got {batch_size} and {num_classes}")
    if not 0 < floor < 1:
        raise ConfigError(f"floor is a small probability such as 1e-6; got {floor}")
    locks = tuple(threading.Lock() for _ in predicts)

    def ask(which: int, x: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(x), batch_size):
            # A copy: the function may write into it, and not every library takes a read-only array.
            batch = np.array(x[start : start + batch_size])
            with locks[which]:
                answer = _called(predicts[which], batch)
            parts.append(read(answer, answers, rows=len(batch), num_classes=num_classes, floor=floor, first=start))
        return np.concatenate(parts)

    granted = GRANTS[answers] if grants is None else GRANTS[answers] & grants
    return _target(ask, len(predicts) if stacked else None, num_classes, tuple(shape), Meter(budget), granted)


def stack(targets: Sequence[Target]) -> Target:
    """One stacked Target of several, in their order; a stack among them adds all of its models.

    So reference models that were trained one by one become the references of an attack.

    Args:
        targets: all in JAX and of one structure (the weights are stacked), or all outside of JAX (each is asked in
            turn, and charged on its own meter too). The same output defenses; what all of them grant is granted.

    Raises:
        TargetError: they do not fit together.

    >>> from_zero = from_callable(lambda x: np.zeros(len(x)), num_classes=2, shape=(3,), answers="labels")
    >>> stack([from_zero, from_zero]).labels(np.zeros((1, 3), np.float32)).tolist()
    [[0], [0]]
    """
    singles = [
        one
        for target in targets
        for one in ([target] if target.size is None else map(target.__getitem__, range(target.size)))
    ]
    if not singles:
        raise TargetError("there is nothing to stack: give at least one Target")
    first = singles[0]
    for one in singles[1:]:
        _check_fits(first, one)
    grants = functools.reduce(operator.and_, (one.grants for one in singles))
    if not first.traceable:
        asked = _target(
            lambda which, x: np.asarray(singles[which].model.apply(singles[which]._params, jnp.asarray(x))),
            len(singles),
            first.model.num_classes,
            first.model.shape,
            Meter(),
            grants,
        )
        model, params = asked.model, asked._params
    else:
        model = first.model
        params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one._params for one in singles))
    secret = jnp.stack([one._secret for one in singles])
    return Target.of(model, params, secret, first.outputs, grants=grants)


def listed(given: Any) -> tuple[list[Any], bool]:
    """The models given, and whether they were given as a list, which makes a stack.

    Raises:
        ConfigError: the list is empty.
    """
    if not isinstance(given, (list, tuple)):
        return [given], False
    if not given:
        raise ConfigError("the list of models is empty: give at least one")
    return list(given), True


def _target(
    ask: Callable[[int, np.ndarray], np.ndarray],
    models: int | None,
    num_classes: int,
    shape: tuple[int, ...],
    meter: Meter,
    grants: Access,
) -> Target:
    """The Target of `ask`: (which model, float32 [B, ...]) -> float32 [B, C]."""

    def apply(params: Params, x: jax.Array) -> jax.Array:
        if isinstance(params, Tracer) or isinstance(x, Tracer):
            raise AccessError(
                "this model answers outside of JAX: it can be neither compiled nor differentiated. Use attacks that "
                "need labels, scores or logits only, and privsec.core.target.compiled in place of jax.jit."
            )
        records = np.asarray(x, np.float32)
        if records.shape[1:] != shape:
            raise TargetError(f"this model takes records of shape {list(shape)}; got {list(records.shape[1:])}")
        if not len(records):
            return jnp.zeros((0, num_classes))
        meter.charge(len(records))
        return jnp.asarray(ask(int(params), records))

    model = Model(lambda key: jnp.zeros((), jnp.int32), apply, num_classes, shape, meter=meter)
    params = jnp.zeros((), jnp.int32) if models is None else jnp.arange(models, dtype=jnp.int32)
    return Target.of(model, params, grants=grants)


def _called(predict: Predict, batch: np.ndarray) -> Any:
    try:
        return predict(batch)
    except PrivsecError:
        raise
    except Exception as error:
        raise TargetError(
            f"the model raised {type(error).__name__} when asked about {len(batch)} records of shape "
            f"{list(batch.shape[1:])}: {error}"
        ) from error


def _check_fits(first: Target, other: Target) -> None:
    if first.traceable != other.traceable:
        raise TargetError("models in JAX and models outside of JAX cannot be stacked: make them all one or the other")
    ours, theirs = ((one.model.num_classes, one.model.shape) for one in (first, other))
    if ours != theirs:
        raise TargetError(f"models of one stack take the same records and classes; got {ours} and {theirs}")
    if first.outputs != other.outputs:
        raise TargetError("models of one stack stand behind the same output defenses")
    if first.traceable and first.model is not other.model:
        raise TargetError(
            "these models are built differently, so their weights cannot be stacked. Build them by the same code (an "
            "activation that is a new lambda each time counts as different), or give each as a function to "
            "from_callable."
        )
