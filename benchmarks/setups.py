"""What the benchmarks of training train: the same network, shapes and batches, in ours and in PyTorch."""

from __future__ import annotations

import argparse
import importlib
import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from rounds import CORES


class Setup(NamedTuple):
    """A network on records of one shape; the records are random, since time does not hang on what they say.

    `channels` are of 3 x 3 convolutions, each followed by pooling; `hidden` of the dense layers before the last.
    """

    name: str
    shape: tuple[int, ...]
    classes: int
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    records: int
    batch: int

    @property
    def layers(self) -> list[tuple[int, int, int]]:
        """(positions, inputs, outputs) of every product of one record, convolutions by their windows."""
        found = []
        rows, columns, inputs = self.shape if self.channels else (1, 1, math.prod(self.shape))
        for outputs in self.channels:
            found.append((rows * columns, 9 * inputs, outputs))
            rows, columns, inputs = rows // 2, columns // 2, outputs
        widths = (rows * columns * inputs, *self.hidden, self.classes)
        return found + [(1, *pair) for pair in itertools.pairwise(widths)]

    @property
    def flops(self) -> int:
        """Of one record in a step: 2 each forward, for weights, for inputs (not the first layer's) a multiply-add."""
        each = [positions * inputs * outputs for positions, inputs, outputs in self.layers]
        return 6 * sum(each) - 2 * each[0]

    def records_of(self) -> tuple[np.ndarray, np.ndarray]:
        """x [2 N, ...] float32 and y [2 N] int32, of which every model is trained on N."""
        rng = np.random.default_rng(0)
        x = rng.random((2 * self.records, *self.shape), np.float32)
        x = x if self.channels else np.round(x)  # Location-30 says where somebody has been: 0 and 1
        return x, rng.integers(0, self.classes, len(x)).astype(np.int32)

    def members(self, models: int) -> np.ndarray:
        """bool [models, 2 N], N true in each row."""
        rng = np.random.default_rng(1)
        return np.stack([rng.permutation(2 * self.records) < self.records for _ in range(models)])

    def model(self) -> Any:
        """Ours."""
        from privsec.nets.base import model_of
        from privsec.nets.cnn import CNN
        from privsec.nets.mlp import MLP

        net = CNN(channels=self.channels, dense=self.hidden) if self.channels else MLP(hidden=self.hidden)
        return model_of(net, self.shape, self.classes)

    def twin(self) -> Any:
        """The same in PyTorch, channels first."""
        nn: Any = importlib.import_module("torch").nn
        parts, inputs = [], self.shape[-1]
        for outputs in self.channels:
            parts += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
            inputs = outputs
        parts.append(nn.Flatten())
        for inputs, outputs in (layer[1:] for layer in self.layers[len(self.channels) :]):
            parts += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*parts[:-1])


MLP = Setup("mlp", (446,), 30, (), (128,), 1600, 100)
"""A 446-128-30 perceptron on Location-30's shapes."""
CNN = Setup("cnn", (28, 28, 1), 10, (16, 32), (64,), 2048, 128)
"""Convolutions of 16 and 32 channels and a dense layer of 64 on MNIST's shapes."""


def options(description: str | None, models: str) -> argparse.ArgumentParser:
    """The command line of a benchmark of training.

    Args:
        description: of the script.
        models: which models are counted, and how many there are by default.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=("mlp", "cnn", "both"), default="both")
    parser.add_argument("--models", type=int, help=models)
    parser.add_argument("--epochs", type=int, help="by default 10 for MLPs, 1 for CNNs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=CORES, help="of PyTorch, at most")
    return parser


def learning_rate(optimizer: str) -> float:
    """The step size of both sides."""
    return 1e-3 if optimizer == "adam" else 1e-2
