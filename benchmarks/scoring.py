"""How long every score-based membership attack takes on recorded answers, and how much memory: no training, no network.

python benchmarks/scoring.py [--models 32] [--records 60000] [--classes 10] [--population 10000]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import privsec
from privsec.attacks import ATTACKS
from privsec.core.recipe import Model

CLAIM = "scoring 32 models x 60,000 records with every score-based attack takes seconds"


def peak_mb() -> float:
    """The most memory this process has held, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3  # bytes on macOS, KiB (nearly) elsewhere


def lookup(models: int, records: int, classes: int, member: np.ndarray, rng: np.random.Generator) -> privsec.Target:
    """A stack of Targets that answer record n with logits drawn beforehand, higher on the label where n is a member."""
    logits = rng.normal(size=(models, records, classes)).astype(np.float32)
    logits[:, np.arange(records), np.arange(records) % classes] += 1 + np.pad(
        member, ((0, 0), (0, records - member.shape[1]))
    )
    model = Model(
        init=lambda key: {"logits": jnp.zeros((records, classes))},
        apply=lambda params, x: params["logits"][x[:, 0].astype(jnp.int32)],
        num_classes=classes,
        shape=(1,),
    )
    return privsec.Target.of(model, {"logits": jnp.asarray(logits)}, jax.random.split(jax.random.key(0), models))


def examples(start: int, stop: int, classes: int) -> privsec.Examples:
    """Records that are their own row number; float32 holds whole numbers up to 2^24."""
    rows = np.arange(start, stop)
    return privsec.Examples(rows[:, None].astype(np.float32), (rows % classes).astype(np.int32))


def main() -> None:
    """Prints seconds for each attack, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("models", 32), ("records", 60_000), ("classes", 10), ("population", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    before = peak_mb()
    rng = np.random.default_rng(0)
    half = rng.random((given.models // 2, given.records)) < 0.5
    member = np.stack([half, ~half], axis=1).reshape(given.models, given.records)  # complementary pairs
    pair = np.arange(given.models) // 2
    total = given.records + given.population
    candidates = examples(0, given.records, given.classes)
    population = examples(given.records, total, given.classes)
    target = lookup(given.models, total, given.classes, member, rng).restrict(privsec.Access.SCORES)

    start = time.perf_counter()
    target = target.record(candidates).record(population)
    seconds = {"answers": time.perf_counter() - start}
    knowledge = privsec.Knowledge(given.classes, candidates, population, target, member, pair[:, None] != pair)
    for name, spec in ATTACKS.specs.items():
        if spec.family == "membership" and spec.needs is privsec.Access.SCORES:
            for variant in ({}, {"online": False}) if "online" in spec.model_fields else ({},):
                start = time.perf_counter()
                ATTACKS.parse({"name": name, **variant}).run(target, knowledge, jax.random.key(0))
                seconds[f"{name}{' offline' if variant else ''}"] = time.perf_counter() - start

    for name, spent in seconds.items():
        print(f"{name:18} {spent:6.2f} s")
    print(f"peak memory {peak_mb():.0f} MB, of which {before:.0f} MB before the first answer")
    total_seconds = round(sum(seconds.values()), 2)
    print(json.dumps({"claim": CLAIM, "seconds": total_seconds, "peak_mb": round(peak_mb())}))


if __name__ == "__main__":
    main()
