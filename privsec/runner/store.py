"""Where a run is kept, so that killing it at any moment loses no finished model and no finished cell.

Every file is written under another name and renamed into place; nothing is pickled. Models live in a bank beside the
run folders, named by what decides their parameters, so that runs share them and grow them.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy
import yaml

from privsec.core.attack import Poison
from privsec.core.defense import Cleaned
from privsec.core.errors import ConfigError
from privsec.core.estimate import Estimate
from privsec.core.recipe import Model, Params
from privsec.runner.config import Experiment
from privsec.runner.plan import Bank, Cell
from privsec.runner.results import CellResult, Results, read_json
from privsec.runner.written import holding, replacing, write_arrays, write_json
from privsec.targets.saved import leaves_of, params_from

CHECKPOINTS = "checkpoints"
"""What the names of a model's earlier parameters begin with in its file."""


CLEANED = "cleaned"
"""What the names of the arrays of a cleaned training set begin with in its model's file."""


class Kept(NamedTuple):
    """A finished model: its parameters, and its checkpoints with a leading [K] on every leaf, () without any.

    `cleaned` is what a defender made of its training set, None where nobody did.
    """

    params: Params
    checkpoints: Params = ()
    cleaned: Cleaned | None = None


class Store:
    """One run folder `<out>/<title>-<digest>/` and the bank of models `<out>/bank/` beside it."""

    def __init__(self, experiment: Experiment, out: Path) -> None:
        self.experiment = experiment
        self.folder = out / f"{slug(experiment.title)}-{experiment.digest[:8]}"
        self.bank = out / "bank"
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            self.bank.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{out}: no run folder can be made: {error.strerror}. Choose another with --out."
            ) from None

    @property
    def cells(self) -> Path:
        """The folder of finished cells."""
        return self.folder / "cells"

    def alone(self, on_wait: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """Holds the run folder: a second process on the same run waits, then finds everything done."""
        return holding(self.folder, on_wait)

    def forget(self, banks: tuple[Bank, ...]) -> None:
        """Removes what earlier runs of this very experiment left, models included."""
        shutil.rmtree(self.cells)
        self.cells.mkdir()
        for bank in banks:
            shutil.rmtree(self.bank / bank.digest, ignore_errors=True)

    def leave_no_empty_folder(self) -> None:
        """Removes the run folder of a run that computed nothing."""
        if not (self.folder / "table.csv").exists() and not any(self.cells.iterdir()):
            shutil.rmtree(self.folder)

    # Models.

    def training(self, bank: Bank, on_wait: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        """Holds one bank while its models are trained: two runs that share it do not train it twice."""
        return holding(self.bank / bank.digest, on_wait)

    def save_model(self, bank: Bank, name: str, kept: Kept) -> None:
        """Keeps one finished model."""
        leaves = leaves_of(kept.params)
        leaves |= {f"{CHECKPOINTS}/{name}": leaf for name, leaf in leaves_of(kept.checkpoints).items()}
        if kept.cleaned is not None:
            leaves |= {f"{CLEANED}/{name}": np.asarray(part) for name, part in kept.cleaned._asdict().items()}
        path = self._model_path(bank, name)
        with replacing(path) as partial:
            safetensors.numpy.save_file(leaves, partial)

    def has_model(self, bank: Bank, name: str) -> bool:
        """Whether a model is finished; its file is not read."""
        return self._model_path(bank, name).exists()

    def load_model(self, bank: Bank, name: str, model: Model, checkpoints: int = 0) -> Kept | None:
        """One finished model and so many checkpoints, None where it was not trained yet."""
        path = self._model_path(bank, name)
        if not path.exists():
            return None
        try:
            leaves = safetensors.numpy.load_file(path)
            then, data = _taken(leaves, CHECKPOINTS), _taken(leaves, CLEANED)
            return Kept(
                params_from(model, leaves),
                params_from(model, then, checkpoints) if checkpoints else (),
                Cleaned(**data) if data else None,
            )
        except (safetensors.SafetensorError, ValueError):
            path.unlink()  # damaged from outside: trained again
            return None

    def load_cleaned(self, bank: Bank, m: int) -> Cleaned | None:
        """What a defender made of the training set of a finished model, None where nobody did or it is not trained."""
        path = self._model_path(bank, name_of(m))
        if not path.exists():
            return None
        with safetensors.safe_open(path, "np") as file:  # type: ignore[no-untyped-call]
            names = [name for name in file.keys() if name.startswith(f"{CLEANED}/")]
            parts = {name.removeprefix(f"{CLEANED}/"): file.get_tensor(name) for name in names}
        return Cleaned(**parts) if parts else None

    def save_poison(self, bank: Bank, poison: Poison) -> None:
        """Keeps what an attacker puts among a bank's records."""
        write_arrays(self._poison_path(bank), {k: np.asarray(v) for k, v in poison._asdict().items()})

    def load_poison(self, bank: Bank) -> Poison | None:
        """The same, None where it was not made yet."""
        try:
            with np.load(self._poison_path(bank), allow_pickle=False) as file:
                return Poison(**file)
        except FileNotFoundError:
            return None
        except (ValueError, OSError, TypeError):
            self._poison_path(bank).unlink()  # damaged from outside: made again
            return None

    def _poison_path(self, bank: Bank) -> Path:
        return self.bank / bank.digest / "poison.npz"

    def _model_path(self, bank: Bank, name: str) -> Path:
        return self.bank / bank.digest / f"{name}.safetensors"

    # Cells.

    def save_cell(self, cell: Cell, result: CellResult, arrays: dict[str, np.ndarray]) -> CellResult:
        """Keeps one cell: its arrays first, then the JSON file whose presence says that the cell is finished."""
        path = self._cell_path(cell)
        array_path = path.with_suffix(".npz") if arrays else None
        if array_path is not None:
            write_arrays(array_path, arrays)
        values = {
            **{k: getattr(result, k) for k in ("seed", "defense", "attack", "family", "access", "status", "reason")},
            "estimates": {name: estimate._asdict() for name, estimate in result.estimates.items()},
            "per_target": {name: np.asarray(values).tolist() for name, values in result.per_target.items()},
            "facts": result.facts,
            "arrays": array_path.name if array_path else None,
        }
        write_json(path, values)
        return _cell_result(path)

    def load_cell(self, cell: Cell, failed: bool = False) -> CellResult | None:
        """A finished cell, None where it has to be computed: so is a failed one, unless `failed` are asked for."""
        path = self._cell_path(cell)
        try:
            result = _cell_result(path)
        except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
            return None
        missing = result.path is not None and not result.path.exists()
        return None if missing or (result.status == "failed" and not failed) else result

    def _cell_path(self, cell: Cell) -> Path:
        return self.cells / f"{cell.seed}-{slug(cell.defense)}-{slug(cell.title or 'utility')}-{cell.digest[:8]}.json"

    # The run as a whole.

    def save_run(
        self, cells: list[tuple[Cell, CellResult]], table: pd.DataFrame, slices: pd.DataFrame, record: dict[str, Any]
    ) -> Results:
        """Writes config, table, slices and record, and opens the run."""
        with replacing(self.folder / "config.yaml") as partial:
            partial.write_text(yaml.safe_dump(self.experiment.to_json(), sort_keys=False, allow_unicode=True), "utf-8")
        for name, rows in {"slices": slices, "table": table}.items():
            with replacing(self.folder / f"{name}.csv") as partial:
                rows.to_csv(partial, index=False)
        write_json(self.folder / "cells.json", [self._cell_path(cell).name for cell, _ in cells])
        write_json(self.folder / "record.json", record)
        return Results(self.folder, table, record, tuple(result for _, result in cells))


def _taken(leaves: dict[str, np.ndarray], folder: str) -> dict[str, np.ndarray]:
    """What `leaves` has under this name, which it has no longer then."""
    names = [name for name in leaves if name.startswith(f"{folder}/")]
    return {name.removeprefix(f"{folder}/"): leaves.pop(name) for name in names}


def name_of(m: int) -> str:
    """What model m is called in its bank.

    >>> name_of(3)
    'model-00003'
    """
    return f"model-{m:05d}"


def kept_models(out: Path, bank: Bank) -> int:
    """How many finished models of this bank lie below `out`."""
    return len(list((out / "bank" / bank.digest).glob("model-*.safetensors")))


def open_run(folder: str | Path) -> Results:
    """The Results in a run folder.

    Raises:
        ConfigError: the folder is not that of a finished run.
    """
    folder = Path(folder)
    try:
        record = read_json(folder / "record.json")
        table = pd.read_csv(folder / "table.csv", dtype={"seed": str}, keep_default_na=True)
        names = read_json(folder / "cells.json")
    except FileNotFoundError as error:
        here = sorted(str(path.parent) for path in folder.glob("*/table.csv"))
        hint = f" Runs inside it: {', '.join(here)}." if here else " Name the folder that `privsec run` printed."
        raise ConfigError(f"{folder}: not a finished run, {Path(error.filename).name} is missing.{hint}") from None
    text = [name for name in table.columns if name not in ("value", "low", "high", "n")]
    table[text] = table[text].fillna("")
    return Results(folder, table, record, tuple(_cell_result(folder / "cells" / name) for name in names))


def slug(title: str) -> str:
    """A title as a file name: letters, digits and hyphens, at most 48 of them.

    >>> slug("Location-30, what leaks?")
    'location-30-what-leaks'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:48].strip("-") or "run"


def _cell_result(path: Path) -> CellResult:
    values = read_json(path)
    arrays = values.pop("arrays")
    return CellResult(
        **{
            **values,
            "estimates": {name: _estimate(fields) for name, fields in values["estimates"].items()},
            "per_target": {k: np.array(v, dtype=np.float64) for k, v in values["per_target"].items()},
            "path": path.with_name(arrays) if arrays else None,
        }
    )


def _estimate(fields: dict[str, Any]) -> Estimate:
    numbers = {key: float("nan") if fields[key] is None else float(fields[key]) for key in ("value", "low", "high")}
    return Estimate(**{**fields, **numbers})
