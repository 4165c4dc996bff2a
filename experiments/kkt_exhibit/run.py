"""Training records from weights alone, beside held-out records: runs config.yaml and prints the table, as Markdown.

python experiments/kkt_exhibit/run.py [--out runs]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

import privsec

CONFIG = Path(__file__).with_name("config.yaml")
MEASURES = ("advantage", "success", "null_success", "nearer_to_members", "nn_gap")


def measured(rows: pd.DataFrame, attacks: list[str]) -> Iterator[str]:
    """Every attack against every defense: mean over seeds and models, and the 95% interval."""
    yield f"| defense | attack | {' | '.join(MEASURES)} |"
    yield f"| --- | --- |{' :---: |' * len(MEASURES)}"
    for defense in rows.index.unique("defense"):
        for attack in attacks:
            cells = [rows.loc[(defense, attack, measure)] for measure in MEASURES]
            shown = [f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]" for row in cells]
            yield f"| {' | '.join([defense, attack, *shown])} |"


def main() -> None:
    """Runs the experiment; prints the table and where the report, with its pictures, lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs", help="the folder that holds runs and trained models")
    given = parser.parse_args()
    experiment = privsec.load(CONFIG)
    results = privsec.run(experiment, out=given.out)
    rows = results.table[results.table.seed == "all"].set_index(["defense", "attack", "measure"])
    print("\n".join(measured(rows, [attack.title for attack in experiment.attacks])))
    print(f"\nreport  {results.report()}")


if __name__ == "__main__":
    main()
