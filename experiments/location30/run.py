"""Reproduces the Location-30 claims: runs config.yaml and prints each claim beside what was measured, as Markdown.

python experiments/location30/run.py [--data ../shared/data/location30.npz] [--out runs]
"""

from __future__ import annotations

import argparse
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import privsec

CONFIG = Path(__file__).with_name("config.yaml")
MET = {">=": operator.ge, "<=": operator.le, "about": lambda value, goal: abs(value - goal) <= 0.01}


class Claim(NamedTuple):
    """A figure to reach: `relation` is a key of MET."""

    defense: str
    attack: str
    measure: str
    relation: str
    goal: float


CLAIMS = (
    Claim("none", "lira", "auc", ">=", 0.97),
    Claim("none", "lira-offline", "auc", ">=", 0.93),
    Claim("none", "rmia", "auc", ">=", 0.95),
    Claim("none", "rmia-offline", "auc", ">=", 0.92),
    Claim("none", "loss", "auc", "about", 0.87),
    Claim("none", "lira", "tpr_at_0.1pct_fpr", ">=", 0.25),
    Claim("none", "rmia", "tpr_at_0.1pct_fpr", ">=", 0.25),
)
DP_CEILING = 0.60
"""At epsilon 8 the AUC of every attack is to stay at or below this."""


def claims(results: privsec.Results) -> tuple[Claim, ...]:
    """The fixed claims, and the ceiling under DP for every attack of the config."""
    attacks = dict.fromkeys(cell.attack for cell in results.cells if cell.attack)
    return CLAIMS + tuple(Claim("dp-8", attack, "auc", "<=", DP_CEILING) for attack in attacks)


def lines(results: privsec.Results) -> Iterator[str]:
    """The claim table in Markdown: mean over seeds and models, 95% interval, goal."""
    yield "| defense | attack | measure | measured | 95% interval | goal | met |"
    yield "| --- | --- | --- | ---: | :---: | ---: | :---: |"
    over_seeds = results.table[results.table.seed == "all"].set_index(["defense", "attack", "measure"])
    for claim in claims(results):
        row = over_seeds.loc[(claim.defense, claim.attack, claim.measure)]
        met = "yes" if MET[claim.relation](row.value, claim.goal) else "**no**"
        interval = f"[{row.low:.3f}, {row.high:.3f}]"
        goal = f"{claim.relation} {claim.goal:.2f}"
        yield f"| {' | '.join([*claim[:3], f'{row.value:.3f}', interval, goal, met])} |"


def main() -> None:
    """Runs the experiment, prints the table and where the report lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="location30.npz; by default the path in config.yaml")
    parser.add_argument("--out", default="runs", help="the folder that holds runs and trained models")
    given = parser.parse_args()
    overrides = [f"data.path={given.data}"] if given.data else []
    results = privsec.run(privsec.load(CONFIG, overrides), out=given.out)
    print("\n".join(lines(results)))
    print(f"\nreport  {results.report()}")


if __name__ == "__main__":
    main()
