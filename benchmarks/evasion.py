"""How long evasion attacks take on MNIST, and what they find: ours and those of Foolbox and ART, on the same weights.

python benchmarks/evasion.py [--data ../shared/data/mnist.npz] [--points 1000] [--looped 50] [--net mlp]

Foolbox and ART are asked where they and torch can be imported; they attack a PyTorch twin of the same network.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import time
import warnings
from collections.abc import Callable, Iterator
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
CLAIMED = (("hop_skip_jump", "art"), ("hop_skip_jump", "privsec"))
"""Whose ratio is claimed."""
Attack = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(images [B, C, H, W], labels [B], images of other classes, to start from) -> changed images."""


class Entry(NamedTuple):
    """One attack by one tool on some points; `run` returns the changed images [N, H, W, C] and the queries a point."""

    attack: str
    tool: str
    points: Examples
    run: Callable[[], tuple[np.ndarray, float]]


class Cost(NamedTuple):
    """One run: seconds and seconds of processor time a point, queries a point, and the changed images."""

    seconds: float
    processor: float
    queries: float
    x: np.ndarray


def trained(path: str | None, net: str, records: int) -> tuple[privsec.Target, Examples]:
    """A small network trained on so many digits, and the test digits that it knows."""
    data, model = MNIST(path=path).load(), model_of(NETS[net], (28, 28, 1), 10)
    fit, test = data.examples(np.arange(records)), data.examples(np.arange(60_000, 70_000))
    params = train(model, Training(epochs=5).recipe(records), fit, np.ones(records, bool), jax.random.key(0)).params
    target = privsec.Target.of(model, params)
    right = np.concatenate([np.asarray(target.labels(x)) for x in np.split(np.asarray(test.x), 10)]) == test.y
    print(f"accuracy {right.mean():.3f}")
    return target, test.take(np.flatnonzero(right))


def ours(target: privsec.Target, points: Examples) -> Iterator[Entry]:
    """Our three attacks."""
    knowledge = privsec.Knowledge(10, points=points, box=(np.float32(0), np.float32(1)))
    attacks = (
        PGD(radius=RADIUS, steps=STEPS),
        Square(radius=RADIUS, queries=PROPOSALS, rescale=True),  # as theirs
        HopSkipJump(queries=1000),
    )
    for attack in attacks:

        def run(attack: Any = attack) -> tuple[np.ndarray, float]:
            found = attack.run(target.restrict(attack.needs), knowledge, jax.random.key(1))
            return np.asarray(found.x[0]), float(np.mean(np.asarray(found.queries) + np.asarray(found.gradients)))

        yield Entry(attack.name, "privsec", points, run)


def compiled(target: privsec.Target, points: Examples) -> None:
    """Compiles our attacks, which is not timed with them but told: on as many points as one program takes."""
    knowledge = privsec.Knowledge(10, points=points, box=(np.float32(0), np.float32(1)))
    PGD(radius=RADIUS, steps=STEPS).run(
        target, knowledge, jax.random.key(0)
    )  # on all: what is settled leaves its chunk
    for entry in ours(target, points.take(np.arange(CHUNK))):
        start = time.perf_counter()
        entry.run()
        print(f"{entry.attack}: {time.perf_counter() - start:.1f} s for {CHUNK} points with its compilation")


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


def others(target: privsec.Target, points: Examples, looped: int, threads: int, memory_format: str) -> Iterator[Entry]:
    """The same of every tool that can be imported; ART's HopSkipJump, a loop over samples, gets `looped` points."""
    begun = starts_of(points)
    for tool, attacks_of in (("foolbox", foolbox), ("art", art)):
        try:
            module = twin(target, np.asarray(points.x[:100]), memory_format=memory_format)
            attacks = attacks_of(module)
            importlib.import_module("torch").set_num_threads(threads)
        except ImportError as missing:
            print(f"{tool} is left out: {missing}")
            continue
        for name, attack in attacks.items():
            some = points.take(np.arange(looped)) if (tool, name) == ("art", "hop_skip_jump") else points
            x, starts = (channels_first(all_[: some.size]).numpy() for all_ in (np.asarray(points.x), begun))
            y = np.asarray(some.y, np.int64)

            def run(attack: Attack = attack, module: Any = module, images: tuple = (x, y, starts)) -> tuple:
                module.asked = 0
                return channels_last(attack(*images)), module.asked / len(images[0])

            yield Entry(name, tool, some, run)


def cost_of(entry: Entry) -> Cost:
    """Runs it, once."""
    seconds, processor = time.perf_counter(), time.process_time()
    x, queries = entry.run()
    seconds, processor = time.perf_counter() - seconds, time.process_time() - processor
    return Cost(seconds / len(x), processor / len(x), queries, x)


def line(target: privsec.Target, entry: Entry, costs: list[Cost]) -> str:
    """Medians of what it cost, and what our own target says to the images of the last run."""
    x, y = costs[-1].x, np.asarray(entry.points.y)
    change = (x - entry.points.x).reshape(len(x), -1)
    sizes = np.linalg.norm(change, axis=1) if entry.attack == "hop_skip_jump" else np.abs(change).max(axis=1)
    fooled = np.asarray(target.labels(x)) != y
    seconds, processor, queries = np.median([cost[:3] for cost in costs], axis=0)
    return (
        f"{entry.attack:14} {entry.tool:8} {len(x):6} {1e3 * seconds:8.2f} {1e3 * processor:10.2f} {queries:8.1f} "
        f"{fooled.mean():7.3f} {np.median(sizes[fooled]) if fooled.any() else np.nan:6.3f}"
    )


def ratios(theirs: list[Cost], own: list[Cost], clock: str) -> dict[str, float]:
    """How many times as long as ours a query of theirs takes: the median over rounds, and the extremes."""
    found = [
        getattr(their, clock) / their.queries / (getattr(our, clock) / our.queries)
        for their, our in zip(theirs, own, strict=True)
    ]
    return {name: round(float(of(found)), 1) for name, of in (("ratio", np.median), ("low", min), ("high", max))}


def main() -> None:
    """Prints one line for each attack and tool, then one JSON line: the claim's ratio, and its range over rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="mnist.npz; by default it is looked for in $PRIVSEC_DATA, then downloaded")
    parser.add_argument("--net", choices=NETS, default="cnn")
    parser.add_argument("--records", type=int, default=10_000, help="to train on")
    parser.add_argument("--points", type=int, default=1000, help="to attack")
    parser.add_argument("--looped", type=int, default=50, help="how many of them ART's HopSkipJump attacks")
    parser.add_argument(
        "--rounds", type=int, default=5, help="of ART's HopSkipJump and ours, in turns; others run once"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch; on busy cores more wait for each other")
    formats = ("contiguous_format", "channels_last")
    parser.add_argument("--memory-format", choices=formats, default=formats[0], help="of torch's convolutions")
    parser.add_argument("--only", choices=("pgd", "square", "hop_skip_jump"))
    given = parser.parse_args()
    target, known = trained(given.data, given.net, given.records)
    points = known.take(np.arange(given.points))
    compiled(target, points)
    theirs = others(target, points, given.looped, given.threads, given.memory_format)
    entries = [*ours(target, points), *theirs]
    entries = [entry for entry in entries if given.only in (None, entry.attack)]
    warnings.simplefilter("ignore")  # of the other tools
    costs: dict[tuple[str, str], list[Cost]] = {entry[:2]: [] for entry in entries}
    for i in range(given.rounds):
        for entry in entries:
            if not i or entry[:2] in CLAIMED:
                np.random.seed(i)  # noqa: NPY002  (what ART draws from)
                costs[entry[:2]].append(cost_of(entry))
    print(
        f"{'attack':14} {'tool':8} {'points':>6} {'ms/point':>8} {'of a core':>10} {'queries':>8} {'fooled':>7}   size"
    )
    for entry in sorted(entries, key=lambda entry: entry.attack, reverse=True):
        print(line(target, entry, costs[entry[:2]]))
    if all(costs.get(name) for name in CLAIMED):
        loop, own = (costs[name] for name in CLAIMED)
        print("by processor time:", json.dumps(ratios(loop, own, "processor")))
        against = f"ART {importlib.metadata.version('adversarial-robustness-toolbox')}, {given.net}, seconds a query"
        print(json.dumps({"claim": CLAIM, "against": against, **ratios(loop, own, "seconds")}))


if __name__ == "__main__":
    main()
