"""Whether the data of a run are still what they were: recomputed from the files, byte by byte."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from privsec.core.errors import ConfigError, DataError
from privsec.data import formats
from privsec.runner import lineage
from privsec.runner.results import read_json
from privsec.targets import saved


class Finding(NamedTuple):
    """What became of one file of a run.

    Attributes:
        what: which file, and of what.
        state: "nothing to compare" where data come with a library or are made from a seed.
        detail: the digests, or where it was looked for.
    """

    what: str
    state: Literal["same", "changed", "gone", "nothing to compare"]
    detail: str = ""


@dataclass(frozen=True)
class Lineage:
    """The lineage of a run, held against the files.

    Attributes:
        manifest: what `lineage.json` says.
        findings: the manifest itself, the data set, the rows of every seed.
    """

    manifest: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing changed and nothing is gone."""
        return all(finding.state in ("same", "nothing to compare") for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for other programs."""
        findings = [finding._asdict() for finding in self.findings]
        return {"intact": self.intact, "findings": findings, "lineage": self.manifest}


def verify(folder: Path) -> Lineage:
    """Reads the lineage of a run, or in the card of a saved model, and recomputes every digest that can be.

    Raises:
        ConfigError: the folder is not that of a run or model with a lineage, or the lineage cannot be read.
        DataError: the model is damaged.
    """
    if (folder / saved.CARD).is_file():
        return _of_model(folder)
    path = lineage.at(folder)
    try:
        record = read_json(folder / "record.json")
        manifest = read_json(path)
        expected = record["lineage"]["sha256"]
    except (FileNotFoundError, NotADirectoryError, KeyError) as error:
        lacking = error.filename if isinstance(error, OSError) else "what record.json says of it"
        raise ConfigError(
            f"{folder}: no lineage, {lacking} is missing. Name the folder that `privsec run` printed; a run of an "
            "earlier version gets one when it is run with --fresh."
        ) from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{folder}: its lineage or record cannot be read: {error}") from None
    try:
        findings = [_compared(f"the manifest ({path})", expected, formats.sha256(path)), _source(manifest["data"])]
        findings += [finding for seed, facts in manifest["seeds"].items() for finding in _rows(folder, seed, facts)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: is no lineage of this version: {error!r}") from None
    return Lineage(manifest, tuple(findings))


def _of_model(folder: Path) -> Lineage:
    card = saved.card_of(folder)
    if card.lineage is None:
        raise ConfigError(
            f"{folder}: the card says nothing of the records that the model was trained on. Save it with the folder of "
            "the run that trained it: save(target, folder, net, run=...)."
        )
    try:
        source = _source(card.lineage["data"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder}: the lineage in its card is none of this version: {error!r}") from None
    return Lineage(card.lineage, (Finding(f"the weights ({folder / saved.WEIGHTS})", "same", card.sha256), source))


def _compared(what: str, expected: str, found: str) -> Finding:
    if found == expected:
        return Finding(what, "same", found)
    return Finding(what, "changed", f"its SHA-256 is {found}, and was {expected}")


def _source(data: dict[str, Any]) -> Finding:
    """The file that the records were read from; a moved one is looked for in $PRIVSEC_DATA."""
    source, expected = data["source"], data["sha256"]
    if not expected:
        return Finding(f"the data ({source})", "nothing to compare", "they come with a library or are made from a seed")
    tried = [Path(source)]
    if folder := os.environ.get("PRIVSEC_DATA"):
        tried.append(Path(folder).expanduser() / Path(source).name)
    there = next((path for path in tried if path.exists()), None)
    if there is None:
        return Finding(f"the data ({source})", "gone", f"tried {', '.join(str(path.absolute()) for path in tried)}")
    try:
        return _compared(f"the data ({there})", expected, formats.sha256(there))
    except OSError as error:
        return Finding(f"the data ({there})", "gone", f"cannot be read: {error.strerror}")


def _rows(folder: Path, seed: str, facts: dict[str, Any]) -> Iterator[Finding]:
    """The rows of every split of one seed."""
    path = folder / facts["rows"]
    if not path.exists():
        yield Finding(f"seed {seed}, the rows ({path})", "gone")
        return
    expected = {name: part["sha256"] for name, part in facts["splits"].items()}
    expected["include"] = facts["training_sets"]["sha256"]
    try:
        found = dict(zip(expected, formats.read_npz(path, list(expected)), strict=True))
    except DataError as error:
        yield Finding(f"seed {seed}, the rows ({path})", "changed", str(error))
        return
    for name, sha in expected.items():
        yield _compared(f"seed {seed}, {name}", sha, lineage.digest(np.asarray(found[name])))
