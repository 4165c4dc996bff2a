"""Targets from PyTorch modules, and the guarantee that Opacus' accountant claims for their training."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from privsec.core.access import Access
from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.core.target import Target
from privsec.targets.answers import FLOOR, Answers, TargetError
from privsec.targets.host import Predict, PullBack, from_callable, listed


def from_torch(
    module: Any,
    *,
    shape: Sequence[int],
    num_classes: int | None = None,
    answers: Answers = "logits",
    device: Any = None,
    batch_size: int = 1024,
    budget: int | None = None,
    grants: Access | None = None,
    floor: float = FLOOR,
) -> Target:
    """The Target of a `torch.nn.Module`; a list of them makes a stack.

    The module is asked in evaluation mode; every part is put back into the mode it was in, and no gradient of a
    parameter is left behind. Where it answers logits, it is differentiable by torch's own autograd: attacks that need
    gradients run on it, one gradient of one record charged as one query. What wraps a module (Opacus' GradSampleModule,
    DataParallel, torch.compile) is asked as it is.

    Args:
        module: called with float [B, ...], it returns a tensor, or something that holds one as `logits`.
        shape: shape of one record *as the module takes it* (images mostly have their channels first).
        num_classes: C; found by asking about one record of zeros where it is left out.
        answers: what the module returns; end-to-end modules without a last softmax return logits.
        device: where to send the records; by default to the module's first parameter.
        batch_size: records of one forward pass.
        budget: how many records may be asked about; None for no limit.
        grants: the most that an attacker may ask, where that is less than the answers give.
        floor: what a smaller probability is taken to be, where probabilities are answered.

    Raises:
        TargetError: torch is not installed, or this is no module, or it cannot take such records. When differentiated:
            the answer does not depend on the records in a way that torch follows.
    """
    torch = _torch()
    modules, stacked = listed(module)
    for one in modules:
        if not isinstance(one, torch.nn.Module):
            raise TargetError(
                f"{type(one).__name__} is no torch.nn.Module. For flax use from_flax, for any function from_callable."
            )
    if any(one.training for one in modules):
        warnings.warn(
            "the module is in training mode. It is asked in evaluation mode (no dropout, batch normalization by "
            "running statistics) and then put back; call module.eval() if that is what you meant.",
            stacklevel=2,
        )
    predicts = [_predict(one, device) for one in modules]
    pulls = [_pull_back(one, device) for one in modules] if answers == "logits" else None
    shape = tuple(shape)
    if num_classes is None:
        num_classes = _columns(predicts[0], shape, answers)
    return from_callable(
        predicts if stacked else predicts[0],
        num_classes=num_classes,
        shape=shape,
        answers=answers,
        batch_size=batch_size,
        budget=budget,
        grants=grants,
        floor=floor,
        pull_back=pulls,
    )


class OpacusClaim(NamedTuple):
    """What a training with Opacus claims.

    Attributes:
        epsilon: as its own accountant computes it; infinite without noise.
        delta: at this delta.
        source: whose figure it is.
        event: the training as one regime of Poisson-sampled Gaussian steps, for accounting it anew; None where rate or
            noise changed on the way.
    """

    epsilon: float
    delta: float
    source: str
    event: DPEvent | None


def opacus_claim(engine: Any, delta: float) -> OpacusClaim:
    """The guarantee that Opacus' accountant states for the training so far.

    It holds if batches were drawn by Poisson sampling, as `make_private` does by default: the accountant takes that for
    granted. The accountant `gdp` is an approximation and may state too little.

    Args:
        engine: the `opacus.PrivacyEngine` that made the training private, or its accountant.
        delta: in (0, 1).

    Raises:
        ConfigError: this is neither, delta is no such number, or nothing was trained.
    """
    accountant = getattr(engine, "accountant", engine)
    if not (hasattr(accountant, "history") and hasattr(accountant, "get_epsilon")):
        raise ConfigError(f"give the opacus.PrivacyEngine of the training, or its accountant; got {engine!r}")
    if not 0 < delta < 1:
        raise ConfigError(f"delta is a probability in (0, 1), got {delta}; write for example 1e-5")
    if not accountant.history:
        raise ConfigError(
            "the accountant has seen no step: ask after the training, and the engine that was trained with"
        )
    kind = accountant.mechanism()
    regimes = {(float(noise), float(rate)) for noise, rate, _ in accountant.history}
    noise, rate = next(iter(regimes))
    event = DPEvent(rate, noise, sum(int(steps) for *_, steps in accountant.history)) if len(regimes) == 1 else None
    source = f"Opacus, accountant {kind}" + (" (an approximation, no bound)" if kind == "gdp" else "")
    if any(noise == 0 for noise, _ in regimes):
        return OpacusClaim(float("inf"), delta, source, event)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a Rényi order lies at the end of the grid: the bound holds
        return OpacusClaim(float(accountant.get_epsilon(delta=delta)), delta, source, event)


def _torch() -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError:
        raise TargetError("this takes PyTorch, which is not installed: pip install 'privsec[torch]'") from None
    return torch


def _predict(module: Any, device: Any) -> Predict:
    torch = _torch()
    forward = _forward(module, device)

    def predict(x: np.ndarray) -> np.ndarray:
        with _evaluating(module), torch.no_grad():
            return forward(x)[1].detach().to("cpu", torch.float64).numpy()

    return predict


def _pull_back(module: Any, device: Any) -> PullBack:
    torch = _torch()
    forward = _forward(module, device)

    def pull_back(x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        with _evaluating(module), torch.enable_grad():
            records, answer = forward(x)
            weights = torch.from_numpy(cotangent).to(answer)
            if answer.numel() == len(x):  # of two classes the second one's logit alone
                weights = weights[:, 1].reshape(answer.shape)
            (gradient,) = torch.autograd.grad(answer, records, weights)
        return gradient.to("cpu", torch.float32).numpy()

    return pull_back


def _forward(module: Any, device: Any) -> Callable[[np.ndarray], tuple[Any, Any]]:
    """x -> (the records as the module takes them, leaves where torch follows gradients; its answer)."""
    torch = _torch()
    parameter = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    place = parameter.device if device is None else device

    def forward(x: np.ndarray) -> tuple[Any, Any]:
        records = torch.from_numpy(x).to(place, parameter.dtype).requires_grad_(torch.is_grad_enabled())
        answer = module(records)
        answer = getattr(answer, "logits", answer)
        if not isinstance(answer, torch.Tensor):
            raise TargetError(
                f"the module returns a {type(answer).__name__}, not a tensor: give a function that picks the answer "
                "out of it to from_callable"
            )
        return records, answer

    return forward


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _columns(predict: Predict, shape: tuple[int, ...], answers: Answers) -> int:
    if answers == "labels":
        raise ConfigError("a module that answers labels does not say how many classes there are: pass num_classes")
    try:
        answer = np.asarray(predict(np.zeros((1, *shape), np.float32)))
    except RuntimeError as error:
        raise TargetError(f"the module cannot take records of shape {list(shape)}: {error}") from error
    return max(answer.shape[-1] if answer.ndim == 2 else 1, 2)
