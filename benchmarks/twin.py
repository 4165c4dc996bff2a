"""A network of ours in PyTorch, so that other tools attack the very same weights."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

CLOSE = 1e-4
"""How far apart the answers of the two may be."""


def twin(
    leaves: Mapping[str, np.ndarray], x: np.ndarray, logits: np.ndarray, *, memory_format: str = "contiguous_format"
) -> Any:
    """A network as a torch.nn.Module, channels first; it counts the records it is asked about (`asked`).

    Args:
        leaves: its weights, as `privsec.targets.saved.leaves_of` names them: an `mlp` with ReLU, or such a `cnn` all of
            whose convolutions are followed by pooling.
        x: [B, H, W, C], records on which both must answer alike.
        logits: [B, classes], what ours answers.
        memory_format: of torch's convolutions; "channels_last", for which one has to ask, is faster on CPUs.

    Raises:
        AssertionError: they do not.
    """
    torch: Any = importlib.import_module("torch")
    tensors = {name: torch.tensor(leaf) for name, leaf in leaves.items()}
    for name, leaf in tensors.items():
        if name.startswith("conv") and name.endswith("kernel"):
            kernel = leaf.reshape(3, 3, len(leaf) // 9, -1).permute(3, 2, 0, 1)
            tensors[name] = kernel.contiguous(memory_format=getattr(torch, memory_format))

    class Twin(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.asked = 0
            weights = [torch.nn.Parameter(leaf, requires_grad=False) for leaf in tensors.values()]
            self.weights = torch.nn.ParameterList(weights)  # a parameter tells other tools the device

        def forward(self, x: Any) -> Any:
            self.asked, x = self.asked + len(x), x.float()
            of = dict(zip(tensors, self.weights, strict=True))
            for kernel, bias in _layers(of, "conv"):
                x = torch.nn.functional.max_pool2d(torch.nn.functional.conv2d(x, kernel, bias, padding=1), 2).relu()
            x = x.permute(0, 2, 3, 1).flatten(1)
            *hidden, (kernel, bias) = _layers(of, "dense")
            for inner, shift in hidden:
                x = (x @ inner + shift).relu()
            return x @ kernel + bias

    module = Twin().eval()
    with torch.no_grad():
        answers = module(channels_first(x)).numpy()
    np.testing.assert_allclose(answers, logits, atol=CLOSE, rtol=0)
    return module


def channels_first(x: np.ndarray) -> Any:
    """[B, H, W, C] as a float tensor [B, C, H, W]."""
    torch: Any = importlib.import_module("torch")
    return torch.tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), dtype=torch.float32)


def channels_last(x: Any) -> np.ndarray:
    """The way back, of a tensor or an array."""
    return np.asarray(x).transpose(0, 2, 3, 1)


def _layers(leaves: dict[str, Any], kind: str) -> list[tuple[Any, Any]]:
    names = itertools.takewhile(lambda name: f"{name}/kernel" in leaves, (f"{kind}/{i}" for i in itertools.count()))
    return [(leaves[f"{name}/kernel"], leaves[f"{name}/bias"]) for name in names]
