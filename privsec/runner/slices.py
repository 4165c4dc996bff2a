"""Tidy rows of membership by class and by group: who pays for the average that the table shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from privsec.core.evidence import MembershipScores
from privsec.measures import slices
from privsec.runner.config import Experiment
from privsec.runner.results import CellResult

COLUMNS = (
    *("data", "net", "defense", "attack", "attribute", "slice", "members", "non_members", "measure"),
    *("value", "low", "high", "n", "unit", "direction", "seed", "p_holm", "reason"),
)
GROUP = "group:"
"""What the names of group codes begin with in a cell's arrays."""


def slices_of(
    experiment: Experiment,
    results: Iterable[CellResult],
    class_names: Sequence[str],
    group_names: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Every membership cell by class and by each sensitive attribute of the data set, over all seeds.

    `members` and `non_members` are the fewest attacked ones that a model has. `p_holm`, on the rows of
    `auc_against_rest`, tests whether a slice differs from all other records, corrected over the attribute's slices.

    Args:
        experiment: names data and net.
        results: the run's cells.
        class_names: as far as they are known.
        group_names: the same of each attribute's groups, in the order of their codes.
    """
    called = {**(group_names or {}), "class": class_names}
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for cell in results:
        if cell.family == "membership" and cell.status == "ok" and cell.path is not None:
            groups.setdefault((cell.defense, cell.attack), []).append(cell)
    rows = [
        {"data": experiment.data.name, "net": experiment.net.name, "defense": defense, "attack": attack, **row}  # type: ignore[attr-defined]
        for (defense, attack), cells in groups.items()
        for row in _rows(cells, called)
    ]
    return pd.DataFrame(rows, columns=pd.Index(COLUMNS))


def _rows(cells: Sequence[CellResult], called: Mapping[str, Sequence[str]]) -> Iterator[dict[str, object]]:
    seeds = [_values(cell, called) for cell in cells]
    for attribute in (name for name in seeds[0] if all(name in seed for seed in seeds)):
        for one in slices.estimates(_in_common([seed[attribute] for seed in seeds])):
            for measure, estimate in one.estimates.items():
                yield {
                    "attribute": attribute,
                    "slice": one.name,
                    "members": one.members,
                    "non_members": one.non_members,
                    "measure": measure,
                    **{name: getattr(estimate, name) for name in ("value", "low", "high", "n", "unit", "direction")},
                    "seed": "all",
                    "p_holm": one.p_value if measure == "auc_against_rest" else np.nan,
                    "reason": estimate.note,
                }


def _in_common(seeds: list[tuple[slices.Values, ...]]) -> list[list[slices.Values]]:
    """The slices that every seed's candidates have, in one order."""
    named = [{one.name: one for one in seed} for seed in seeds]
    shared = [name for name in named[0] if all(name in seed for seed in named)]
    return [[seed[name] for name in shared] for seed in named]


def _values(cell: CellResult, called: Mapping[str, Sequence[str]]) -> dict[str, tuple[slices.Values, ...]]:
    """Attribute -> its slices in one cell, whose arrays are read and let go."""
    assert cell.path is not None
    with np.load(cell.path, allow_pickle=False) as file:
        arrays = dict(file)
    attributes = {"class": arrays["y"]}
    attributes |= {name.removeprefix(GROUP): codes for name, codes in arrays.items() if name.startswith(GROUP)}
    evidence, found = MembershipScores(arrays["scores"]), {}
    for attribute, codes in attributes.items():
        known, of_record = np.unique(codes, return_inverse=True)
        names = called.get(attribute, ())
        titles = [str(names[c]) if 0 <= c < len(names) else f"{attribute} {c}" for c in known.tolist()]
        found[attribute] = slices.measure(evidence, arrays["member"], of_record, titles)
    return found
