"""How long scores take once models have answered: RMIA and LiRA against pairs and loops, and every attack on scores.

python benchmarks/scoring.py [--models 256] [--records 60000] [--classes 10] [--population 10000] [--rounds 5]

The other ways are re-stated here in NumPy: RMIA as the matrix of all likelihood ratios r(x) / r(z), as ML Privacy Meter
computes it, and record by record, as LeakPro does; LiRA as a loop over targets and records that picks each one's
references and fits two normals.
Real networks answer (MLPs as they are before training, which cost what trained ones cost).
"""

from __future__ import annotations

import argparse
import functools
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
from rounds import Cost, headline, in_turns, machine, measured, table, versions

import privsec
from privsec.attacks import ATTACKS
from privsec.attacks.membership.lira import likelihood_ratio
from privsec.attacks.membership.rmia import preferred_share
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training.stacks import Stack

CLAIM = "RMIA of 10,000 records against a population of 10,000 takes at most 1/500 of the pairwise matrix"
PAIRS = 10_000
"""Records, and records of the population, of the pairwise comparison."""
GAMMA = 2.0
LOOPED = 1000
"""Records that LiRA scores in the loop."""
REFERENCES = 64
"""Models of the comparison of LiRA, each a target of the others."""
FEATURES, WIDTH = 32, 64
"""Of the networks that answer."""


def peak_mb() -> float:
    """The most memory this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3  # bytes on macOS, KiB (nearly) elsewhere


def pairwise(log_x: np.ndarray, log_z: np.ndarray) -> np.ndarray:
    """The share of population records that each record outdoes, from the whole matrix of ratios."""
    ratios = np.exp(log_x)[:, None] / np.exp(log_z)
    return np.mean(ratios >= GAMMA, axis=1)


def by_record(log_x: np.ndarray, log_z: np.ndarray) -> np.ndarray:
    """The same, one row of the matrix at a time."""
    scores, ratio_z = np.empty(len(log_x)), np.exp(log_z)
    for i, ratio in enumerate(np.exp(log_x)):
        scores[i] = np.mean(ratio / ratio_z >= GAMMA)
    return scores


def in_blocks(log_x: np.ndarray, log_z: np.ndarray) -> np.ndarray:
    """The same comparisons in logarithms, a few rows at a time that stay in the cache: the best of this way."""
    least = log_z + np.log(GAMMA)
    parts = np.array_split(log_x, max(1, len(log_x) // 64))
    return np.concatenate([np.mean(part[:, None] >= least, axis=1) for part in parts])


def rmia(rounds: int) -> dict[str, list[Cost]]:
    """RMIA by sorting, and by all pairs; every way must count the same records."""
    rng = np.random.default_rng(0)
    log_x, log_z = (rng.normal(scale=2, size=PAIRS) for _ in range(2))
    own = preferred_share(log_x[None], log_z[None], GAMMA)[0]
    for way in (pairwise, by_record, in_blocks):  # ours orders ties within the share of one population record
        np.testing.assert_allclose(own, way(log_x, log_z), atol=1 / PAIRS)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "sorted": lambda: preferred_share(log_x[None], log_z[None], GAMMA),
        "matrix": lambda: pairwise(log_x, log_z),
        "record by record": lambda: by_record(log_x, log_z),
        "matrix in blocks": lambda: in_blocks(log_x, log_z),
    }
    costs = in_turns({name: functools.partial(measured, way) for name, way in ways.items()}, rounds)
    print(f"\nRMIA, one target, {PAIRS} records x {PAIRS} of the population\n{table(costs, ours='sorted')}")
    return costs


def looped(margins: np.ndarray, member: np.ndarray, records: int) -> np.ndarray:
    """LiRA with a variance per record, record by record for each target in turn, without its own row."""
    scores = np.empty((len(margins), records))
    for t in range(len(margins)):
        others = np.arange(len(margins)) != t
        for n in range(records):
            log_densities = []
            for chosen in (member[:, n] & others, ~member[:, n] & others):
                known = margins[chosen, n].astype(np.float64)
                mean, spread = known.mean(), known.std(ddof=1)
                log_densities.append(-0.5 * ((margins[t, n] - mean) / spread) ** 2 - np.log(spread))
            scores[t, n] = log_densities[0] - log_densities[1]
    return scores


def lira(rounds: int, records: int) -> None:
    """LiRA for all targets and records at once, and in loops; time is told for a target and record."""
    rng = np.random.default_rng(0)
    member = np.stack([half := rng.random((REFERENCES // 2, records)) < 0.5, ~half], 1).reshape(REFERENCES, records)
    margins = (rng.normal(size=member.shape) + member).astype(np.float32)
    usable = ~np.eye(REFERENCES, dtype=bool)

    def ours() -> np.ndarray:
        return likelihood_ratio(margins, margins, member, usable, online=True, variance="per_example", prior_weight=8.0)

    some = min(LOOPED, records)
    np.testing.assert_allclose(ours()[:2, :some], looped(margins, member, some)[:2], rtol=1e-3, atol=1e-2)
    ways = {"all at once": ours, "loop": lambda: looped(margins, member, some)}
    costs = in_turns({name: functools.partial(measured, way) for name, way in ways.items()}, rounds)
    count = {"all at once": REFERENCES * records, "loop": REFERENCES * some}
    print(f"\nLiRA, {REFERENCES} targets with {REFERENCES - 1} references, a million scores")
    print(table(costs, ours="all at once", each={name: number / 1e6 for name, number in count.items()}))


def bank(models: int, records: int, population: int, classes: int) -> tuple[privsec.Target, privsec.Knowledge]:
    """A stack of networks, and what an attacker knows who has them all: half of the candidates in each, in pairs."""
    rng = np.random.default_rng(0)
    half = rng.random((models // 2, records)) < 0.5
    member = np.stack([half, ~half], axis=1).reshape(models, records)
    pair = np.arange(models) // 2
    x = rng.normal(size=(records + population, FEATURES)).astype(np.float32)
    y = rng.integers(0, classes, records + population).astype(np.int32)
    candidates, others = privsec.Examples(x[:records], y[:records]), privsec.Examples(x[records:], y[records:])
    model, stacked = model_of(MLP(hidden=(WIDTH,)), (FEATURES,), classes), Stack(models)
    for m in range(models):
        stacked.put(m, model.init(jax.random.key(m)))
    target = privsec.Target.of(model, stacked.whole, jax.random.split(jax.random.key(0), models))
    target = target.restrict(privsec.Access.SCORES)
    return target, privsec.Knowledge(classes, candidates, others, target, member, pair[:, None] != pair)


def every_attack(models: int, records: int, population: int, classes: int) -> None:
    """Answers recorded once, then each membership attack on scores: seconds, and the peak of memory."""
    target, knowledge = bank(models, records, population, classes)
    before = peak_mb()
    assert knowledge.candidates is not None
    assert knowledge.population is not None
    start = time.perf_counter()
    target = target.record(knowledge.candidates).record(knowledge.population)
    knowledge = replace(knowledge, references=target)
    seconds = {"answers": time.perf_counter() - start}
    peaks = {"answers": peak_mb()}
    for name, spec in ATTACKS.specs.items():
        if spec.family == "membership" and spec.needs is privsec.Access.SCORES:
            for variant in ({}, {"online": False}) if "online" in spec.model_fields else ({},):
                start = time.perf_counter()
                ATTACKS.parse({"name": name, **variant}).run(target, knowledge, jax.random.key(0))
                title = f"{name}{' offline' if variant else ''}"
                seconds[title], peaks[title] = time.perf_counter() - start, peak_mb()
    print(f"\nall attacks on scores: {models} models x {records} records x {classes} classes, population {population}")
    for name, spent in seconds.items():
        print(f"{name:18} {spent:7.2f} s, peak so far {peaks[name]:6.0f} MB")
    print(f"in all {sum(seconds.values()):.1f} s; peak {peak_mb():.0f} MB, {before:.0f} MB before the first answer")


def main() -> None:
    """Prints the three tables, then one JSON line: the pairwise matrix against ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = (("models", 256), ("records", 60_000), ("classes", 10), ("population", 10_000), ("rounds", 5))
    for name, default in sizes:
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    print(f"{machine()}\n{versions()}", flush=True)
    every_attack(given.models, given.records, given.population, given.classes)
    lira(given.rounds, 10_000)
    costs = rmia(given.rounds)
    headline(CLAIM, "the whole matrix of ratios, NumPy", costs["matrix"], costs["sorted"])


if __name__ == "__main__":
    main()
