"""Coverage and power of every bound, beside those of jax_privacy where it is installed; writes results.csv.

python experiments/audit_coverage/run.py [--audits 1000] [--trainings 1000]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from mechanisms import DELTA, MECHANISMS, as_markdown, bounds, judged
from population import trained

from privsec.privacy.accounting import epsilon

SIDES = {100: 1.0, 500: 0.3, 5000: 0.04}
"""Trials a side, and the share of the audits that are made at this size."""


def simulated(audits: int) -> Iterator[dict]:
    """Every bound on every mechanism whose epsilon is known in closed form."""
    for title, mechanism in MECHANISMS.items():
        for side, share in SIDES.items():

            def draw(audit: int, side: int = side, scores=mechanism.scores) -> tuple[np.ndarray, np.ndarray]:
                rng = np.random.default_rng([audit, side, 5])
                member = rng.random(2 * side) < 0.5
                return scores(member, rng), member

            for name, bound in bounds().items():
                if side in bound.sides:
                    count = round(audits * share * bound.share)
                    row = judged(name, bound, title, side, mechanism.epsilon, count, draw)
                    yield row | {"assumption_holds": mechanism.gaussian or not bound.assumes_gaussian}


def real(trainings: int) -> Iterator[dict]:
    """Every bound on DP-SGD: 100 canaries in one training an audit, or one canary in 100 trainings an audit."""
    scores, coins, event = trained(trainings)
    truth = epsilon(event, DELTA)
    hundreds = [
        (scores[at : at + 100, c], coins[at : at + 100, c]) for at in range(0, trainings, 100) for c in range(100)
    ]
    for name, bound in bounds().items():
        needs_runs = any(part in name for part in ("rank_test", "clopper_pearson", "gdp"))
        blocks = hundreds if needs_runs else list(zip(scores, coins, strict=True))
        title = f"dp-sgd, {'1 canary in 100 trainings' if needs_runs else '100 canaries in 1 training'}"
        count = round(len(blocks) * bound.share)
        row = judged(name, bound, title, 50, truth, count, blocks.__getitem__)
        yield row | {"assumption_holds": not bound.assumes_gaussian}


def main() -> None:
    """Runs the study and prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audits", type=int, default=1000)
    parser.add_argument("--trainings", type=int, default=1000)
    given = parser.parse_args()
    table = pd.DataFrame([*real(given.trainings), *simulated(given.audits)])
    table.to_csv(Path(__file__).with_name("results.csv"), index=False)
    for side, value in ((100, "rate"), (500, "rate"), (500, "mean"), (5000, "mean")):
        print(f"\n{value}, {side} a side\n\n{as_markdown(table[table.n_per_side.isin([side, side // 2])], value)}")


if __name__ == "__main__":
    main()
