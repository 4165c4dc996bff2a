"""BaVarIA beside LiRA and RMIA at 2 to 32 references, drawn from one bank of models for each config here, as Markdown.

python experiments/bavaria/run.py [--data ../shared/data] [location30 digits mnist adult]
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import privsec
from privsec.core import errors, keys
from privsec.core.target import Target
from privsec.measures import intervals, membership
from privsec.runner.world import World
from privsec.training import many

DRAWS = {2: 8, 4: 8, 8: 6, 16: 4, 32: 1}  # sets of references drawn for each target, by their size
RECORDS = 6000  # a larger data set is cut down to so many, at random
MEASURES = ("auc", "tpr_at_1pct_fpr", "tpr_at_0.1pct_fpr")
HEAD = """| data | references | measure | bavaria | lira | rmia | bavaria - better of the others | |
| --- | ---: | --- | :---: | :---: | :---: | :---: | --- |"""


def drawn(models: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """`usable` [T, M]: whole complementary pairs, never the target's own: every record is IN in half of them."""
    pair = np.arange(models) // 2
    return np.stack([np.isin(pair, rng.choice(np.setdiff1d(pair, own), size // 2, replace=False)) for own in pair])


def measured(world: World, rng: np.random.Generator) -> Iterator[tuple[int, dict[str, dict[str, np.ndarray]]]]:
    """(references, {attack: {measure: one value a target, averaged over draws}})."""
    recipe, key = world.experiment.training.recipe(int(world.member[0].sum())), keys.derive(world.root, "training")
    params = many.train_stack(world.model, recipe, world.candidates, world.member, key)
    bank = Target.of(world.model, params).record(world.candidates).record(world.population)
    for size, draws in DRAWS.items():
        found: dict[str, list] = {attack.title: [] for attack in world.experiment.attacks}
        for usable in (drawn(len(world.member), size, rng) for _ in range(draws)):
            for attack in world.experiment.attacks:
                with contextlib.suppress(errors.NotApplicable):
                    evidence = attack.run(bank, replace(world.knowledge(attack, bank), usable=usable), world.root)
                    found[attack.title].append(membership.measure(evidence, world.member))  # type: ignore[arg-type]
        yield size, {k: {m: np.mean([d[m] for d in v], axis=0) for m in v[0]} for k, v in found.items() if v}


def rows(title: str, size: int, found: dict[str, dict[str, np.ndarray]]) -> Iterator[str]:
    """One line a measure: means, and BaVarIA less the better of the others, with 95% intervals over pairs."""
    for measure in (name for name in MEASURES if np.isfinite(found["bavaria"][name]).all()):  # the resolvable ones
        of = {name: values[measure] for name, values in found.items()}
        best = max(set(of) - {"bavaria"}, key=lambda name: of[name].mean())
        by = intervals.paired_difference(of["bavaria"], of[best], np.arange(len(of[best])) // 2)
        verdict = "above" if by.low > 0 else "equal" if by.high >= 0 else "**below**"
        shown = " | ".join(f"{of[name].mean():.4f}" if name in of else "-" for name in ("bavaria", "lira", "rmia"))
        shown += f" | {by.value:+.4f} [{by.low:+.4f}, {by.high:+.4f}] | {verdict}"
        yield f"| {title} | {size} | {measure} | {shown} |"


def main() -> None:
    """Trains the banks and prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="*", default=["location30", "digits", "mnist", "adult"])
    parser.add_argument("--data", type=Path, default="../shared/data", help="the folder of the data files")
    given = parser.parse_args()
    print(HEAD)
    for title in given.sets:
        path = getattr(privsec.load(config := Path(__file__).with_name(f"{title}.yaml")).data, "path", None)
        experiment = privsec.load(config, [f"data.path={given.data / Path(path).name}"] if path else [])
        dataset, rng = experiment.data.load(), np.random.default_rng(experiment.seeds[0])
        some = dataset.take(np.sort(rng.permutation(dataset.size)[:RECORDS]))
        for size, found in measured(World.of(experiment, some, experiment.seeds[0]), rng):
            print("\n".join(rows(title, size, found)), flush=True)


if __name__ == "__main__":
    main()
