"""torchattacks' copy of the reference AutoAttack, on a PyTorch twin of the network."""

from __future__ import annotations

import importlib
import runpy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import privsec
from privsec.targets.saved import leaves_of

TWIN = Path(__file__).parents[2] / "benchmarks" / "twin.py"


def in_turn(
    target: privsec.Target, points: privsec.Examples, names: tuple[str, ...], radius: float, steps: int
) -> Iterator[tuple[str, np.ndarray, float]]:
    """What is found after each of the components `names`, which attacks what the others left, and after what time."""
    torch: Any = importlib.import_module("torch")
    tools: dict[str, Any] = runpy.run_path(str(TWIN))
    module = tools["twin"](leaves_of(target.params), np.asarray(points.x), target.logits(points.x))
    x, y = tools["channels_first"](points.x), torch.tensor(np.asarray(points.y), dtype=torch.long)
    library = importlib.import_module("torchattacks")
    attack = library.AutoAttack(module, norm="Linf", eps=radius, n_classes=target.model.num_classes, seed=0)
    found, began = x.clone(), time.perf_counter()
    for name, component in zip(names, attack._autoattack.attacks, strict=True):
        component.steps = steps  # as in the authors' program; this copy's own default is 10
        left = (module(found).argmax(1) == y).nonzero().flatten()
        found[left] = component(x[left], y[left]).detach()
        yield name, tools["channels_last"](found), time.perf_counter() - began
