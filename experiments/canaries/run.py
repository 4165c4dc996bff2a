"""What canaries show of a training at each claimed epsilon, and of DP-SGD broken on purpose, as Markdown tables.

python experiments/canaries/run.py [--data ../shared/data/location30.npz] [--seeds 3] [--only power|bugs]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bugs import BUGS

import privsec
from privsec.auditor.training import audit_recipe, audit_training
from privsec.core import keys
from privsec.runner.config import Experiment
from privsec.runner.plan import Bank
from privsec.runner.world import World

CONFIG = Path(__file__).with_name("config.yaml")
RECORDS, ACCESSES = ("mislabeled", "blank", "out_of_distribution"), ("black-box", "white-box")
GRADIENTS = (("gradient", "white-box", 1000), ("gradient", "white-box", 10_000))
ROWS = (*((kind, access, 1000) for kind in RECORDS for access in ACCESSES), *GRADIENTS)
WATCHES = (*GRADIENTS, ("mislabeled", "white-box", 1000))


def power(experiment: Experiment, seeds: range) -> Iterator[str]:
    """Shown epsilon by canaries and access (rows) against claimed epsilon (columns)."""
    yield f"| canaries | access | m | {' | '.join(experiment.defenses)} | seconds |"
    yield f"| --- | --- | ---: |{' :---: |' * len(experiment.defenses)} ---: |"
    for kind, access, m in ROWS:
        cells, seconds = [], []
        for defense in experiment.defenses:
            given = {"defense": defense, "kind": kind, "access": access, "canaries": m}
            audits = [audit_training(experiment, **given, seed=s) for s in seeds]
            cells.append(_shown(audits))
            seconds += [audit.seconds["training"] for audit in audits]
        yield f"| {kind} | {access} | {m:,} | {' | '.join(cells)} | {np.median(seconds):.1f} |"


def bugs(experiment: Experiment, seeds: range) -> Iterator[str]:
    """Shown epsilon where 1 is claimed and the implementation is broken."""
    yield f"| implementation | {' | '.join(f'{kind}, m = {m:,}' for kind, _, m in WATCHES)} |"
    yield f"| --- |{' :---: |' * len(WATCHES)}"
    recipe = Bank(experiment, "", 0, experiment.defenses["dp-1"]).recipe  # type: ignore[arg-type]
    world = World.of(experiment, experiment.data.load(), 0)
    for name, broken in BUGS.items():
        made, cells = broken(recipe), []
        for kind, access, m in WATCHES:
            given = {"kind": kind, "access": access, "canaries": m}
            audits = [audit_recipe(world.model, made, world.candidates, **given, key=keys.root(s)) for s in seeds]
            cells.append(_shown(audits))
        yield f"| {name} | {' | '.join(cells)} |"


def _shown(audits: list) -> str:
    shown = " ".join(f"{audit.shown.estimate.value:.2f}" for audit in audits)
    return f"**{shown}**" if any(audit.contradicted for audit in audits) else shown


def main() -> None:
    """Prints the tables line by line; bold where at least one audit contradicts the claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="location30.npz; by default the path in config.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=("power", "bugs"), help="print this table alone")
    given = parser.parse_args()
    experiment = privsec.load(CONFIG, [f"data.path={given.data}"] if given.data else ())
    for table in (power, bugs):
        if given.only in (None, table.__name__):
            for line in table(experiment, range(given.seeds)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
