"""An audit that is done: its record, whether it passed, and where to keep it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from privsec.auditor.record import AuditRecord, Figure, Verdict
from privsec.core.errors import ConfigError


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        record: everything, as `audit.json` holds it.
    """

    record: AuditRecord

    @property
    def passed(self) -> bool:
        """Whether every rule of the policy passed; True without a policy."""
        return self.record.passed

    @property
    def verdict(self) -> Verdict:
        """The answer in words."""
        return self.record.verdict

    def json(self) -> str:
        """The content of `audit.json`: valid JSON (no NaN, no Infinity) that fits the published schema."""
        return json.dumps(self.record.model_dump(mode="json"), indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def save(self, folder: str | Path) -> Path:
        """Writes `audit.json` into the folder, which is made where it is missing, and returns its path.

        Raises:
            ConfigError: nothing can be written there.
        """
        path = Path(folder) / "audit.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.json(), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}. Choose another folder.") from None
        return path

    def report(self, path: str | Path = "audit.html") -> Path:
        """Writes the page that people read, and returns its path."""
        from importlib import import_module  # the report stands above the auditor: looked up when asked for, by name

        return import_module("privsec.report.audit_page").write_audit(self.record, Path(path))

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per attack and measure, the worst case over attacks first."""
        record = self.record
        rows = [_row("worst", record.worst_attack.get(name, ""), name, one) for name, one in record.worst.items()]
        for attack in record.attacks:
            rows += [_row("attack", attack.title, name, one) for name, one in attack.measures.items()]
            if attack.status != "ok":
                rows.append({"scope": "attack", "attack": attack.title, "status": attack.status, "note": attack.reason})
        for part in record.slices:
            scope = f"{part.attribute} = {part.value}"
            rows += [_row(scope, "", name, one) for name, one in part.measures.items()]
        columns = ["scope", "attack", "measure", "value", "low", "high", "n", "unit", "status", "note"]
        return pd.DataFrame(rows, columns=columns)


def _row(scope: str, attack: str, measure: str, figure: Figure) -> dict[str, object]:
    numbers = {name: getattr(figure, name) for name in ("value", "low", "high", "n", "unit", "note")}
    return {"scope": scope, "attack": attack, "measure": measure, "status": "ok", **numbers}


def open_audit(path: str | Path) -> Audit:
    """The Audit in an `audit.json`, or in the folder that holds one.

    Raises:
        ConfigError: there is none, or it is of another version of the schema.
    """
    path = Path(path)
    path = path / "audit.json" if path.is_dir() else path
    try:
        return Audit(AuditRecord.model_validate_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: no audit can be read: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"{path}: is no audit of this version: {str(error)[:300]}") from None
