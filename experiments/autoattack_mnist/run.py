"""AutoAttack beside torchattacks' copy of the reference and beside PGD-100, on one adversarially trained MNIST CNN.

python experiments/autoattack_mnist/run.py [--data ../shared/data/mnist.npz] [--out runs/autoattack_mnist]

The model is trained where --out does not hold it yet. torchattacks is asked where it and torch can be imported.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import reference
import training

import privsec
from privsec.attacks.evasion.auto_attack import AutoAttack
from privsec.attacks.evasion.pgd import PGD
from privsec.data.mnist import MNIST
from privsec.targets.saved import from_folder, save

RADIUS, STEPS, RECORDS = 0.3, 100, 20_000
COMPONENTS = ("apgd", "apgd-t", "fab-t", "square")


def ours(target: privsec.Target, points: privsec.Examples) -> Iterator[tuple[str, np.ndarray, float]]:
    """What PGD finds, then AutoAttack up to each component, and the seconds of PGD and of all of AutoAttack."""
    box, key, began = (np.float32(0), np.float32(1)), jax.random.key(1), time.perf_counter()
    knowledge, attack = privsec.Knowledge(training.CLASSES, points=points, box=box), AutoAttack(radius=RADIUS)
    x = np.asarray(PGD(radius=RADIUS, steps=STEPS).run(target, knowledge, key).x[0])
    yield f"pgd of {STEPS} steps", x, time.perf_counter() - began
    began, (_, inside, space) = time.perf_counter(), attack._setup(knowledge, key)
    found, broken_by = attack.in_turn(target, inside, space)
    seconds = time.perf_counter() - began
    for number, name in enumerate(COMPONENTS, 1):
        broken = (0 < broken_by) & (broken_by <= number)
        yield name, np.where(broken[:, None, None, None], found.x, points.x), seconds


def robust(target: privsec.Target, points: privsec.Examples, x: np.ndarray) -> float:
    """The share of points that keep their class, after making sure that every change is allowed."""
    assert np.abs(x - points.x).max() <= RADIUS + 1e-6 and x.min() >= 0 and x.max() <= 1
    return float(np.mean(np.asarray(target.labels(x)) == points.y))


def main() -> None:
    """Trains, or takes what was trained before, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data/mnist.npz")
    parser.add_argument("--out", type=Path, default=Path("runs/autoattack_mnist"), help="the folder of the model")
    parser.add_argument("--points", type=int, default=1000)
    given = parser.parse_args()
    data = MNIST(path=given.data).load()
    if not given.out.exists():
        save(training.trained(data.examples(np.arange(RECORDS))), given.out, training.NET)
    target, points = from_folder(given.out), data.examples(np.arange(60_000, 60_000 + given.points))
    print("| tool | attack | robust accuracy | seconds |\n| --- | --- | ---: | ---: |")
    print(f"| | none | {robust(target, points, np.asarray(points.x)):.1%} | |")
    tools = {"privsec": ours(target, points)}
    if importlib.util.find_spec("torchattacks"):
        tools["torchattacks"] = reference.in_turn(target, points, COMPONENTS, RADIUS, STEPS)
    for tool, found in tools.items():
        for name, x, seconds in found:
            print(f"| {tool} | {name} | {robust(target, points, x):.1%} | {seconds:.0f} |", flush=True)
    if len(tools) == 1:
        print("\ntorchattacks is not installed: nothing stands beside these figures")


if __name__ == "__main__":
    main()
