"""How long evasion attacks take on MNIST, and what they find: ours and those of Foolbox and ART, on the same weights.

python benchmarks/evasion.py [--data ../shared/data/mnist.npz] [--points 1000] [--looped 100] [--net mlp]

Foolbox and ART are asked where they and torch can be imported; they attack a PyTorch twin of the same network.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from twin import channels_first, channels_last, twin

import privsec
from privsec.attacks.evasion.base import CHUNK
from privsec.attacks.evasion.hop_skip_jump import HopSkipJump
from privsec.attacks.evasion.pgd import PGD
from privsec.attacks.evasion.square import Square
from privsec.core.data import Examples
from privsec.data.mnist import MNIST
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.nets.mlp import MLP
from privsec.training.loop import train
from privsec.training.standard import Training

NETS = {"cnn": CNN(), "mlp": MLP(hidden=(128,))}
RADIUS = 0.1
"""Of the linf ball; this undefended network is not yet wholly lost in it."""
STEPS, PROPOSALS, ROUNDS = 40, 1000, 5
"""Of PGD, of Square, and of their HopSkipJump, for which five rounds take about 1,000 queries; ours is given those."""
STEP = 2.5 * RADIUS / STEPS
CLAIM = "batched HopSkipJump takes at most a tenth of the time of a loop over samples"
Attack = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(images [B, C, H, W], labels [B], images of other classes, to start from) -> changed images."""


class Row(NamedTuple):
    """One attack by one tool: milliseconds and queries a point, the share of points fooled, and the median size."""

    attack: str
    tool: str
    points: int
    milliseconds: float
    queries: float
    fooled: float
    size: float


def trained(path: str | None, net: str, records: int) -> tuple[privsec.Target, Examples]:
    """A small network trained on so many digits, and the test digits that it knows."""
    data, model = MNIST(path=path).load(), model_of(NETS[net], (28, 28, 1), 10)
    fit, test = data.examples(np.arange(records)), data.examples(np.arange(60_000, 70_000))
    params = train(model, Training(epochs=5).recipe(records), fit, np.ones(records, bool), jax.random.key(0)).params
    target = privsec.Target.of(model, params)
    right = np.concatenate([np.asarray(target.labels(x)) for x in np.split(np.asarray(test.x), 10)]) == test.y
    print(f"accuracy {right.mean():.3f}")
    return target, test.take(np.flatnonzero(right))


def ours(target: privsec.Target, points: Examples, only: str | None) -> Iterator[Row]:
    """Our three attacks: compiled first, then timed."""
    knowledge = privsec.Knowledge(10, points=points, box=(np.float32(0), np.float32(1)))
    attacks = (
        PGD(radius=RADIUS, steps=STEPS),
        Square(radius=RADIUS, queries=PROPOSALS, rescale=True),  # as theirs
        HopSkipJump(queries=1000),
    )
    PGD(radius=RADIUS, steps=1).run(target, knowledge, jax.random.key(0))  # compiles what all attacks begin with
    for attack in attacks:
        if only in (None, attack.name):
            asked, start = target.restrict(attack.needs), time.perf_counter()
            attack.run(asked, replace(knowledge, points=points.take(np.arange(CHUNK))), jax.random.key(1))
            print(f"{attack.name}: {time.perf_counter() - start:.1f} s for {CHUNK} points with its compilation")
            start = time.perf_counter()
            found = attack.run(asked, knowledge, jax.random.key(1))
            seconds = time.perf_counter() - start
            spent = float(np.mean(np.asarray(found.queries) + np.asarray(found.gradients)))
            yield judged(attack.name, "privsec", target, points, np.asarray(found.x[0]), seconds, spent)


def judged(
    attack: str, tool: str, target: privsec.Target, points: Examples, x: np.ndarray, seconds: float, queries: float
) -> Row:
    """What our own target says to the changed records."""
    change = (x - points.x).reshape(len(x), -1)
    sizes = np.linalg.norm(change, axis=1) if attack == "hop_skip_jump" else np.abs(change).max(axis=1)
    fooled = np.asarray(target.labels(x)) != points.y
    size = float(np.median(sizes[fooled])) if fooled.any() else np.nan
    return Row(attack, tool, len(x), 1e3 * seconds / len(x), queries, float(fooled.mean()), size)


def foolbox(module: Any) -> dict[str, Attack]:
    """Foolbox's attacks by name; it has no Square attack."""
    torch, library = (importlib.import_module(name) for name in ("torch", "foolbox"))
    model = library.PyTorchModel(module, bounds=(0, 1))

    def of(attack: Any, radius: float | None) -> Attack:
        def run(x: np.ndarray, y: np.ndarray, starts: np.ndarray) -> np.ndarray:
            changed = []
            for start in range(0, len(x), CHUNK):
                part, labels, begun = (torch.tensor(all_[start : start + CHUNK]) for all_ in (x, y, starts))
                given = {} if radius else {"starting_points": begun}
                changed.append(attack(model, part, labels, epsilons=radius, **given)[1].numpy())
            return np.concatenate(changed)

        return run

    return {
        "pgd": of(library.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS), RADIUS),
        "hop_skip_jump": of(library.attacks.HopSkipJumpAttack(steps=ROUNDS), None),
    }


def art(module: Any) -> dict[str, Attack]:
    """ART's attacks by name."""
    loss = importlib.import_module("torch").nn.CrossEntropyLoss()
    attacks = importlib.import_module("art.attacks.evasion")
    estimators = importlib.import_module("art.estimators.classification")
    model = estimators.PyTorchClassifier(module, loss, (1, 28, 28), 10, clip_values=(0, 1))
    common = {"batch_size": CHUNK, "verbose": False}
    ball = {"eps": RADIUS, "eps_step": STEP, "max_iter": STEPS, "num_random_init": 1}
    climb = attacks.ProjectedGradientDescentPyTorch(model, **ball, **common)
    search = attacks.SquareAttack(model, max_iter=PROPOSALS, eps=RADIUS, p_init=0.8, **common)
    walk = attacks.HopSkipJump(model, max_iter=ROUNDS, **common)
    return {
        "pgd": lambda x, y, starts: climb.generate(x, y),
        "square": lambda x, y, starts: search.generate(x, y),
        "hop_skip_jump": lambda x, y, starts: walk.generate(x, y, x_adv_init=starts),
    }


def starts_of(points: Examples) -> np.ndarray:
    """For each point the nearest one of another class."""
    x, y = np.asarray(points.x).reshape(points.size, -1), np.asarray(points.y)
    gaps = np.sum(x**2, axis=1) - 2 * x @ x.T
    return np.asarray(points.x)[np.argmin(np.where(y[:, None] == y, np.inf, gaps), axis=1)]


def others(target: privsec.Target, points: Examples, looped: int, only: str | None) -> Iterator[Row]:
    """The same of every tool that can be imported; ART's HopSkipJump, a loop over samples, gets `looped` points."""
    begun = starts_of(points)
    for tool, attacks_of in (("foolbox", foolbox), ("art", art)):
        try:
            module = twin(target, np.asarray(points.x[:100]))
            attacks = attacks_of(module)
        except ImportError as missing:
            print(f"{tool} is left out: {missing}")
            continue
        importlib.import_module("torch").manual_seed(0)
        np.random.seed(0)  # noqa: NPY002  (what ART draws from)
        for name, run in attacks.items():
            if only in (None, name):
                some = points.take(np.arange(looped)) if (tool, name) == ("art", "hop_skip_jump") else points
                x, starts = (channels_first(all_[: some.size]).numpy() for all_ in (np.asarray(points.x), begun))
                module.asked, start = 0, time.perf_counter()
                x = channels_last(run(x, np.asarray(some.y, np.int64), starts))
                seconds = time.perf_counter() - start
                yield judged(name, tool, target, some, x, seconds, module.asked / some.size)


def ratios(rows: list[Row]) -> dict[str, float]:
    """How many times as long as ours the others take; HopSkipJump, whose budgets differ a little, by the query."""
    cost = {row[:2]: row.milliseconds / (row.queries if row.attack == "hop_skip_jump" else 1) for row in rows}
    return {
        f"{attack}, {tool} / privsec": round(spent / cost[attack, "privsec"], 1)
        for (attack, tool), spent in cost.items()
        if tool != "privsec"
    }


def main() -> None:
    """Prints one line for each attack and tool, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="mnist.npz; by default it is looked for in $PRIVSEC_DATA, then downloaded")
    parser.add_argument("--net", choices=NETS, default="cnn")
    parser.add_argument("--records", type=int, default=10_000, help="to train on")
    parser.add_argument("--points", type=int, default=1000, help="to attack")
    parser.add_argument("--looped", type=int, default=100, help="how many of them ART's HopSkipJump attacks")
    parser.add_argument("--only", choices=("pgd", "square", "hop_skip_jump"))
    given = parser.parse_args()
    target, known = trained(given.data, given.net, given.records)
    points = known.take(np.arange(given.points))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the other tools
        rows = [*ours(target, points, given.only), *others(target, points, given.looped, given.only)]
    print(f"{'attack':14} {'tool':8} {'points':>6} {'ms/point':>9} {'queries':>8} {'fooled':>7} {'size':>6}")
    for attack, tool, count, *figures in sorted(rows, key=lambda row: row.attack, reverse=True):
        print(f"{attack:14} {tool:8} {count:6} {{:9.2f}} {{:8.1f}} {{:7.3f}} {{:6.3f}}".format(*figures))
    print(json.dumps({"claim": CLAIM, "net": given.net, "times as long": ratios(rows)}))


if __name__ == "__main__":
    main()
