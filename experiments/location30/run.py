"""Reproduces the Location-30 claims: runs config.yaml, prints what was measured and each claim beside it, as Markdown.

python experiments/location30/run.py [--data ../shared/data/location30.npz] [--out runs]
"""

from __future__ import annotations

import argparse
import operator
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import privsec

CONFIG = Path(__file__).with_name("config.yaml")
MEASURES = ("auc", "tpr_at_1pct_fpr", "tpr_at_0.1pct_fpr")
MET = {">=": operator.ge, "<=": operator.le, "about": lambda value, goal: abs(value - goal) <= 0.01}
CLAIMS = (
    ("none", "lira", "auc", ">=", 0.97),
    ("none", "lira-offline", "auc", ">=", 0.93),
    ("none", "rmia", "auc", ">=", 0.95),
    ("none", "rmia-offline", "auc", ">=", 0.92),
    ("none", "loss", "auc", "about", 0.87),
    ("none", "lira", "tpr_at_0.1pct_fpr", ">=", 0.25),
    ("none", "rmia", "tpr_at_0.1pct_fpr", ">=", 0.25),
)
DP_CEILING = 0.60
"""At epsilon 8 the AUC of every attack is to stay at or below this."""


def measured(rows: pd.DataFrame, attacks: list[str]) -> Iterator[str]:
    """Every attack against every defense: mean over seeds and models, and the 95% interval."""
    yield f"| defense | attack | {' | '.join(MEASURES)} |"
    yield f"| --- | --- |{' :---: |' * len(MEASURES)}"
    for defense in rows.index.unique("defense"):
        for attack in attacks:
            cells = [_shown(rows.loc[(defense, attack, measure)]) for measure in MEASURES]
            yield f"| {defense} | {' | '.join([attack, *cells])} |"


def claims(rows: pd.DataFrame, attacks: list[str]) -> Iterator[str]:
    """Each claim, what was measured, and whether that value, unrounded, meets it."""
    yield "| defense | attack | measure | goal | measured | met |"
    yield "| --- | --- | --- | ---: | :---: | :---: |"
    for *cell, relation, goal in (*CLAIMS, *(("dp-8", attack, "auc", "<=", DP_CEILING) for attack in attacks)):
        row = rows.loc[tuple(cell)]
        met = "yes" if MET[relation](row.value, goal) else "**no**"
        yield f"| {' | '.join([*cell, f'{relation} {goal:.2f}', _shown(row), met])} |"


def _shown(row: pd.Series) -> str:
    return f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"


def main() -> None:
    """Runs the experiment; prints both tables and where the report lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="location30.npz; by default the path in config.yaml")
    parser.add_argument("--out", default="runs", help="the folder that holds runs and trained models")
    given = parser.parse_args()
    overrides = [f"data.path={given.data}"] if given.data else []
    experiment = privsec.load(CONFIG, overrides)
    results = privsec.run(experiment, out=given.out)
    rows = results.table[results.table.seed == "all"].set_index(["defense", "attack", "measure"])
    attacks = [attack.title for attack in experiment.attacks]
    print("\n".join([*measured(rows, attacks), "", *claims(rows, attacks)]))
    print(f"\nreport  {results.report()}")


if __name__ == "__main__":
    main()
