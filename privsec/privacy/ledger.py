"""A ledger of what was released from one data set: what it cost together, and what remains of the budget.

One JSON file for one data set. Entries are only ever appended, by one process at a time, and the file is replaced as a
whole: a crash leaves the old ledger or the new one. Each entry carries a digest of itself and of the one before, so an
entry that was edited, dropped or reordered by accident is noticed. This is no protection against forgery: whoever can
write the file can also compute digests.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
from pydantic import Field

from privsec.core.errors import ConfigError, DataError, PrivsecError
from privsec.core.spec import Spec, SpecError
from privsec.privacy.account import Row, too_large, upward
from privsec.privacy.releases import ACCOUNTANTS, Accountant, AnyRelease, Release, spent

FORMAT = "privsec ledger 1"
"""The first key of every ledger file."""
PATIENCE = 60.0
"""Seconds to wait for another process that appends."""
SHA256 = r"^[0-9a-f]{64}$"


class OverBudget(PrivsecError):
    """The entry would spend more than the ledger's budget; it was not written."""


class Terms(Spec):
    """What a ledger was opened for; it never changes."""

    data: str = Field(pattern=SHA256)
    """SHA-256 of the data set's file, as `Dataset.sha256` has it."""
    delta: float = Field(ge=0, lt=1)
    """The delta at which epsilon is accounted, to be well below 1 / records."""
    epsilon: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The budget; null for none."""
    records: int | None = Field(default=None, ge=1)
    """How many records the data set has."""
    title: str = ""
    """What the data set is called."""


class Entry(Spec):
    """One training or release."""

    title: str = Field(min_length=1)
    """Names it."""
    date: datetime.date
    """When it was released."""
    data: str = Field(pattern=SHA256)
    """SHA-256 of the data set it was made from."""
    released: str = Field(min_length=1)
    """What left the house: weights, an endpoint, a table of counts."""
    mechanism: AnyRelease
    """How it was made private."""
    forced: str = ""
    """Why it was made although it broke the budget; empty where it did not."""
    previous: str = Field(pattern=SHA256)
    """Digest of the entry before; of the terms, for the first one."""


class Balance(Spec):
    """What a ledger says in sum."""

    epsilon: float
    """Upper bound on what all entries cost together at `delta`."""
    delta: float
    """As in the terms."""
    accountant: Accountant
    """Which bound that is: a sum of epsilons, Rényi divergences, or privacy loss distributions."""
    budget: float | None
    """The budget, null for none."""
    remaining: float | None
    """A further pure-epsilon release of this size fits, up to the accountant's rounding of 1e-4. Null: no budget."""
    entries: int
    """How many there are."""
    forced: int
    """How many of them broke the budget."""
    warnings: tuple[str, ...] = ()
    """What is unwise about these numbers."""


@dataclass(frozen=True)
class Ledger:
    """A ledger as its file was when it was read. `append` writes to the file and returns the ledger as it is then.

    Attributes:
        path: the file.
        terms: which data set, which budget.
        entries: from the first to the latest.
    """

    path: Path
    terms: Terms
    entries: tuple[Entry, ...] = ()

    @classmethod
    def create(cls, path: str | Path, terms: Terms) -> Ledger:
        """Begins a ledger. A ConfigError where there is a file already, or no such folder."""
        path = Path(path).resolve()
        with _alone(path):
            if path.exists():
                raise ConfigError(f"{path} exists: open it and append, or name another file for another data set")
            _write(path, {"format": FORMAT, "terms": terms.to_json(), "entries": [], "head": _digest(terms.to_json())})
        return cls(path, terms)

    @classmethod
    def open(cls, path: str | Path) -> Ledger:
        """The ledger in a file; a DataError where it is damaged or no ledger, checked from first to last entry."""
        path = Path(path).resolve()
        return cls(path, *_parsed(path, _read(path)))

    def append(
        self, mechanism: Release, *, title: str, date: datetime.date | str, released: str, data: str, force: str = ""
    ) -> Ledger:
        """Appends one release and writes the file, waiting for other processes that do the same.

        Args:
            mechanism: how it was made private; for a training with DP-SGD `SampledGaussian.of(recipe.dp_event)`.
            title: names it.
            date: when it was released, a date or YYYY-MM-DD.
            released: what left the house: weights, an endpoint, a table of counts.
            data: SHA-256 of the data it was made from; must be the ledger's.
            force: why it is recorded although it breaks the budget; kept in the entry. A release that has happened
                belongs in the ledger, whatever it cost.

        Returns:
            The ledger with this entry, and with those that others appended meanwhile.

        Raises:
            OverBudget: it would break the budget, and `force` gives no reason; nothing was written.
            ConfigError: another data set, a malformed value, or another process holds the file for a minute.
            DataError: the file is damaged; nothing was written.
        """
        with _alone(self.path):
            content = _read(self.path)
            terms, entries = _parsed(self.path, content)
            if data != terms.data:
                raise ConfigError(
                    f"{title!r} was made from the data set {data[:12]}..., this ledger is for {terms.data[:12]}...: "
                    "privacy adds up within a data set, so each has a ledger of its own"
                )
            said: dict[str, Any] = {"title": title, "date": date, "data": data, "released": released}
            entry = Entry(**said, mechanism=mechanism, previous=content["head"])  # type: ignore[arg-type]
            if broken := _over_budget(terms, entries, entry):
                if not force:
                    raise OverBudget(broken)
                entry = Entry(**{**dict(entry), "forced": force})
            written = json.loads(entry.model_dump_json())  # as the file will give it back, infinity in words
            head = _digest(written)
            _write(self.path, {**content, "entries": [*content["entries"], {**written, "digest": head}], "head": head})
        return Ledger(self.path, terms, (*entries, entry))

    def balance(self, delta: float | None = None) -> Balance:
        """What all entries cost together.

        Args:
            delta: another delta than that of the terms; the budget is then not spoken of.
        """
        total = spent(tuple(entry.mechanism for entry in self.entries), self.terms.delta if delta is None else delta)
        budget = self.terms.epsilon if delta is None else None
        forced = sum(bool(entry.forced) for entry in self.entries)
        broken = ("The budget was broken, on record: the entries say why.",) if forced else ()
        return Balance(
            **total._asdict(),
            budget=budget,
            remaining=None if budget is None else max(budget - total.epsilon, 0.0),
            entries=len(self.entries),
            forced=forced,
            warnings=(*too_large(total.delta, self.terms.records), *broken),
        )

    def rows(self) -> list[Row]:
        """The balance, then each entry with what it costs by itself, as text."""
        now = self.balance()
        rows = [
            Row("data set", self.terms.title or self.terms.data[:12], f"SHA-256 {self.terms.data}"),
            Row(
                "epsilon",
                upward(now.epsilon),
                f"all entries together at delta {now.delta:g}, by {ACCOUNTANTS[now.accountant]}",
            ),
        ]
        if now.budget is not None and now.remaining is not None:
            rows += [
                Row("budget", f"{now.budget:.3f}", f"{now.forced} of {now.entries} entries broke it"),
                # Downward, as an upper bound goes upward.
                Row(
                    "remaining",
                    f"{math.floor(now.remaining * 1000) / 1000:.3f}",
                    "a further pure epsilon of this size fits",
                ),
            ]
        for entry in self.entries:
            alone = upward(spent((entry.mechanism,), now.delta).epsilon)
            note = f"; forced: {entry.forced}" if entry.forced else ""
            rows.append(Row(f"{entry.date} {entry.title}", alone, f"by itself; {entry.released}{note}"))
        return rows


def _over_budget(terms: Terms, entries: tuple[Entry, ...], entry: Entry) -> str:
    """How the entry would break the budget; empty where it would not."""
    if terms.epsilon is None:
        return ""
    total = spent((*(known.mechanism for known in entries), entry.mechanism), terms.delta).epsilon
    if total <= terms.epsilon:
        return ""
    return (
        f"{entry.title!r} would bring epsilon to {upward(total)} at delta {terms.delta:g}; the budget is "
        f"{terms.epsilon:g}. Add noise, take fewer steps, or, if it has been released already, record it with `force` "
        "and the reason."
    )


def _digest(written: Any) -> str:
    return hashlib.sha256(json.dumps(written, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such ledger. Begin one with Ledger.create, once for each data set.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(_damaged(path, f"it cannot be read as JSON ({error})")) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(_damaged(path, f"it does not begin with {FORMAT!r}: perhaps it is another kind of file"))
    return content


def _parsed(path: Path, content: dict[str, Any]) -> tuple[Terms, tuple[Entry, ...]]:
    try:
        terms = Terms(**content["terms"])
        entries, head = [], _digest(content["terms"])
        for position, written in enumerate(content["entries"], 1):
            name = f"entry {position}"
            fields = {key: value for key, value in written.items() if key != "digest"}
            if written["digest"] != _digest(fields):
                raise DataError(_damaged(path, f"{name} was changed after it was written"))
            if written["previous"] != head:
                raise DataError(
                    _damaged(path, f"what stands before {name} is not what stood there when it was written")
                )
            entries.append(Entry(**fields))
            if entries[-1].data != terms.data:
                raise DataError(_damaged(path, f"{name} is of another data set"))
            head = written["digest"]
        if content["head"] != head:
            raise DataError(_damaged(path, "the latest entries are missing, or the terms were changed"))
    except (KeyError, TypeError, AttributeError, SpecError) as error:
        raise DataError(_damaged(path, f"its structure is not that of a ledger ({error})")) from None
    return terms, tuple(entries)


def _damaged(path: Path, why: str) -> str:
    return (
        f"{path}: the ledger is damaged: {why}. Nothing was written. Restore the file from a copy (version control, a "
        "backup) and append again what is missing; do not begin a new ledger, which would forget what was spent."
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keeps other processes from writing. A killed process lets go."""
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: no such folder for a ledger")
    try:
        with filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE):
            yield
    except filelock.Timeout:
        raise ConfigError(f"{path}: another process has been writing for {PATIENCE:g} s. Try again later.") from None


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replaces the file in one step, on disk before it takes the old one's place."""
    partial = path.with_name(f".{path.name}.partial")  # one name is enough: the caller holds the lock
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
