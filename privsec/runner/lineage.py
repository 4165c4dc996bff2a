"""Where the records of a run came from, what was done to them, and who is in whose training set.

`lineage.json` in a run folder says it; `lineage/<seed>.npz` beside it holds the rows themselves, so that membership can
be audited later. Equal runs write equal bytes, however often they were interrupted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from privsec import __version__
from privsec.core.data import Dataset
from privsec.core.defense import Cleaned
from privsec.data.formats import sha256
from privsec.runner.config import Experiment
from privsec.runner.mixture import Mixture, mixed
from privsec.runner.plan import Bank, Cell
from privsec.runner.store import Store
from privsec.runner.world import World
from privsec.runner.written import write_arrays, write_json
from privsec.schema import arrays

FILE = "lineage.json"
FOLDER = "lineage"
SPLITS = ("candidates", "population", "holdout", "include")
"""Arrays of a seed's npz: row numbers, counted after `limit`, and who is in which training set, bool [M, N]."""


def write(store: Store, worlds: Mapping[int, World], cells: Iterable[Cell]) -> dict[str, str]:
    """Writes the lineage of a run into its folder.

    Args:
        store: of the run; its bank says what was poisoned and cleaned.
        worlds: of every seed.
        cells: of the plan, which name the banks.

    Returns:
        What `record.json` says of it: the file and its digest.
    """
    (store.folder / FOLDER).mkdir(exist_ok=True)
    for seed, world in worlds.items():
        write_arrays(store.folder / _rows(seed), {name: getattr(world.splits, name) for name in SPLITS})
    write_json(store.folder / FILE, _manifest(store, worlds, cells))
    return {"file": FILE, "sha256": sha256(store.folder / FILE)}


def _manifest(store: Store, worlds: Mapping[int, World], cells: Iterable[Cell]) -> dict[str, Any]:
    banks: dict[str, tuple[Bank, dict[str, None]]] = {}
    for cell in cells:
        banks.setdefault(cell.bank.digest, (cell.bank, {}))[1][cell.defense] = None
        if cell.control is not None:
            banks.setdefault(cell.control.digest, (cell.control, {}))[1][cell.defense] = None
    world = next(iter(worlds.values()))
    return {
        "privsec": __version__,
        "data": _data(store.experiment, world.dataset),
        "seeds": {str(seed): _seed(seed, world) for seed, world in worlds.items()},
        "trainings": [
            {"digest": digest, "seed": bank.seed, "under": bank.title, "defenses": list(names)}
            | _training(store, bank, worlds[bank.seed])
            for digest, (bank, names) in banks.items()
        ],
    }


def _data(experiment: Experiment, dataset: Dataset) -> dict[str, Any]:
    """The data set as it was read, before anything that hangs on a seed."""
    steps = [step for step in dataset.steps if step.name != "standardize"]
    schema, _ = arrays.infer({"x": dataset.x, "y": dataset.y})
    return {
        "spec": experiment.data.to_json(),
        "source": dataset.source,
        "sha256": dataset.sha256,
        "records": dataset.size,
        "class_counts": np.bincount(dataset.y, minlength=dataset.num_classes).tolist(),
        "feature_names": list(dataset.feature_names),
        "class_names": list(dataset.class_names),
        "groups": {name: list(names) for name, names in dataset.group_names.items()},
        "schema": schema.to_json(),
        "schema_digest": schema.digest,
        "steps": [step._asdict() for step in steps],
    }


def _seed(seed: int, world: World) -> dict[str, Any]:
    """Who is in which split, as counts and digests."""
    splits = world.splits
    parts = {
        name: {"records": len(rows), "sha256": digest(rows)} for name, rows in zip(SPLITS[:3], splits[:3], strict=True)
    }
    models, size = splits.include.shape[0], int(splits.include[0].sum())
    made = [step._asdict() for step in world.dataset.steps if step.name == "standardize"]
    trained = {"models": models, "records": size, "sha256": digest(splits.include)}
    return {"steps": made, "splits": parts, "training_sets": trained, "rows": _rows(seed)}


def _training(store: Store, bank: Bank, world: World) -> dict[str, Any]:
    """What an attacker and a defender made of the training sets of one bank."""
    poison, steps = store.load_poison(bank) if bank.attack else None, []
    mixture = mixed(world.candidates, world.member, poison, bank.records)
    if bank.attack is not None and poison is not None:
        given = (mixture.include & mixture.poisoned).sum(axis=1)
        steps.append(
            {
                "name": "poison",
                "by": bank.attack.title,
                "spec": bank.attack.to_json(),
                "records": len(mixture.poisoned) - world.candidates.size,
                "replacing": int(np.sum(np.asarray(poison.replaces) >= 0)),
                "in_each_training_set": given.tolist(),
                "sha256": digest(np.asarray(poison.x), np.asarray(poison.y), np.asarray(poison.replaces)),
            }
        )
    if bank.curation:
        found = [store.load_cleaned(bank, m) for m in range(len(mixture.include))]
        steps.append(
            {
                "name": "clean",
                "by": [defense.to_json() for defense in bank.curation],
                "left": [_left(mixture, m, one) for m, one in enumerate(found)],
            }
        )
    return {"records": bank.records, "steps": steps}


def _left(mixture: Mixture, m: int, found: Cleaned | None) -> dict[str, Any] | None:
    """What a defender left of one training set; None where the model was not trained."""
    if found is None:
        return None
    kept = np.asarray(found.kept, bool)
    relabelled = kept & (np.asarray(found.y) != np.asarray(mixture.data.y))
    counts = {"kept": kept, "relabelled": relabelled, "poisoned": kept & mixture.poisoned}
    return {
        "given": int(mixture.include[m].sum()),
        **{name: int(rows.sum()) for name, rows in counts.items()},
        "sha256": digest(np.flatnonzero(kept)),
    }


def digest(*parts: np.ndarray) -> str:
    """SHA-256 over arrays: their types, shapes and values."""
    made = hashlib.sha256()
    for part in parts:
        part = np.ascontiguousarray(part)
        made.update(f"{part.dtype.str}{part.shape}".encode())
        made.update(part.tobytes())
    return made.hexdigest()


def _rows(seed: int) -> str:
    return f"{FOLDER}/{seed}.npz"


def at(folder: Path) -> Path:
    """Where a run folder has its lineage."""
    return folder / FILE
