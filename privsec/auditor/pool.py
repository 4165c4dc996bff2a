"""All records of an audit in one random order, so that no attack can read membership from a position; their checks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from privsec.auditor.record import Caution
from privsec.auditor.sides import Side
from privsec.core.data import Examples
from privsec.core.errors import DataError

MANY = 0.1
"""From this share of the smaller side on, records on both sides make the audit unusable."""


@dataclass(frozen=True)
class Pool:
    """Members and non-members together.

    Attributes:
        side: all N records, in random order.
        member: bool [N], the truth.
        row: int [N], each record's place on its own side, as given.
        given: how many members and non-members were given, those left out since included.
        y: int32 [N], class numbers, where labels are known.
        names: the classes' names, where labels were names.
    """

    side: Side
    member: np.ndarray
    row: np.ndarray
    given: tuple[int, int]
    y: np.ndarray | None = None
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.member)

    @property
    def examples(self) -> Examples:
        """The records as a model takes them."""
        assert self.side.x is not None and self.y is not None
        return Examples(as_features(self.side.x), self.y)

    def label_of(self, n: int) -> str:
        """How a report names the class of record n."""
        return "" if self.y is None else class_name(self.names, int(self.y[n]))

    @property
    def place(self) -> np.ndarray:
        """Int [N]: each record's place among all that were given, members first."""
        return np.where(self.member, self.row, self.given[0] + self.row)


def class_name(names: tuple[str, ...], code: int) -> str:
    """A class's own name, its number where it has none."""
    return names[code] if code < len(names) else str(code)


def pooled(
    members: Side, non_members: Side, seed: int, *, num_classes: int | None = None, drawn: bool = False
) -> tuple[Pool, list[Caution]]:
    """The pool, with what is to be said of it.

    Records that are on both sides are taken off the non-members: the model did train on them.

    Args:
        members: as checked by `sides`.
        non_members: likewise.
        seed: of the order.
        num_classes: C of the model, where it is known.
        drawn: whether coins or runs decided who is a member: taking records off a side would then falsify the draw.

    Raises:
        DataError: both sides are one and the same; labels that are no classes.
    """
    cautions, given = [], (members.size, non_members.size)
    shared = _on_both_sides(members, non_members)
    rows = np.arange(non_members.size)
    if shared.any():
        cautions.append(_duplicates(int(shared.sum()), members.size, non_members.size, drawn))
        rows = rows[~shared]
        if not len(rows):
            raise DataError(
                "every non-member is among the members too. An audit needs records that the model was not trained on; "
                "was one file given twice?"
            )
        non_members = non_members.take(~shared)
    both = _concatenated(members, non_members)
    order = np.random.default_rng(seed).permutation(both.size)
    member, row = np.arange(both.size) < members.size, np.concatenate([np.arange(members.size), rows])
    pool = Pool(both.take(order), member[order], row[order], given)
    if both.labels is not None:
        coded = classes(both.labels, num_classes)
        pool = replace(pool, y=coded.codes[order], names=coded.names)
        cautions += coded.cautions
    return pool, cautions


def _concatenated(a: Side, b: Side) -> Side:
    def joined(name: str) -> np.ndarray | None:
        parts = [getattr(side, name) for side in (a, b)]
        if any(part is None for part in parts):
            return None
        if parts[0].shape[1:] != parts[1].shape[1:]:
            raise DataError(
                f"members' {name} have shape {parts[0].shape}, the non-members' {parts[1].shape}: all but the first "
                "number must agree. Do both come from the same model and the same preprocessing?"
            )
        return np.concatenate(parts)

    if a.what != b.what:
        raise DataError(f"the members' numbers are {a.what}, the non-members' {b.what}: give the same of both.")
    parts = {name: joined(name) for name in ("values", "x", "labels", "groups", "identifiers")}
    slices = {key: np.concatenate([codes, b.slices[key]]) for key, codes in a.slices.items() if key in b.slices}
    return Side(a.size + b.size, what=a.what, slices=slices, **parts)


def digests(x: np.ndarray) -> np.ndarray:
    """A 64-bit digest of each record's content: equal records, equal digests, whatever their type was."""
    rows = np.ascontiguousarray(as_features(x).reshape(len(x), -1)) + np.float32(0)  # minus zero is zero
    return np.array([int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest()) for row in rows], np.uint64)


def _on_both_sides(members: Side, non_members: Side) -> np.ndarray:
    """Which non-members are members too: by their own names, by content, or because the files are the same."""
    shared = np.zeros(non_members.size, bool)
    if members.identifiers is not None and non_members.identifiers is not None:
        shared |= np.isin(non_members.identifiers.astype(str), members.identifiers.astype(str))
    if members.x is not None and non_members.x is not None and members.x.shape[1:] == non_members.x.shape[1:]:
        shared |= np.isin(digests(non_members.x), digests(members.x))
    if (
        members.values is not None
        and non_members.values is not None
        and np.array_equal(members.values, non_members.values)
    ):
        shared[:] = members.size > 1  # the same numbers in the same order
    return shared


def _duplicates(count: int, members: int, non_members: int, drawn: bool) -> Caution:
    found = f"{count} of {non_members} non-members are among the {members} members too"
    if drawn or count >= MANY * min(members, non_members):
        return Caution(
            code="duplicates",
            severity="invalid",
            text=f"{found}: the two sides are not what they are called. Give non-members that the model never saw.",
        )
    return Caution(
        code="duplicates",
        severity="warning",
        text=f"{found}. They were counted as members only, since the model was trained on them.",
    )


class Classes(NamedTuple):
    """Labels as numbers 0..C-1."""

    codes: np.ndarray
    names: tuple[str, ...]
    cautions: list[Caution]


def classes(labels: np.ndarray, num_classes: int | None) -> Classes:
    """The class numbers of labels that are numbers or names.

    Names are numbered in sorted order, as scikit-learn does; that is a guess about the model, and said so.

    Raises:
        DataError: fractions, numbers outside 0..C-1, or names of which not every class occurs.
    """
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1:
        raise DataError(f"labels have shape {labels.shape}; one class a record is needed, not one-hot rows.")
    if labels.dtype.kind not in "fiub":
        names = tuple(str(name) for name in np.unique(labels.astype(str)))
        codes = np.searchsorted(names, labels.astype(str)).astype(np.int32)
        if num_classes is None:
            return Classes(codes, names, [])
        if len(names) != num_classes:
            raise DataError(
                f"labels are names, of which {len(names)} occur ({', '.join(names[:5])} ...), but the model has "
                f"{num_classes} classes. Number them 0..{num_classes - 1} as the model's training did."
            )
        mapping = ", ".join(f"{name} = {code}" for code, name in enumerate(names[:10]))
        text = f"Labels are names; they were numbered in sorted order ({mapping}). The model must have done the same."
        return Classes(codes, names, [Caution(code="labels-mapped", severity="note", text=text)])
    wrong = ~(np.isfinite(labels) & (labels == np.floor(labels)) & (labels >= 0))
    if num_classes is not None:
        wrong |= labels >= num_classes
    if wrong.any():
        n = int(np.argmax(wrong))
        top = "C-1" if num_classes is None else str(num_classes - 1)
        raise DataError(f"label {labels[n]} is no class ({int(wrong.sum())} such labels): number classes 0..{top}.")
    return Classes(labels.astype(np.int32), (), [])


def as_features(x: np.ndarray) -> np.ndarray:
    """Records as float32.

    Raises:
        DataError: text, NaN or infinity.
    """
    if x.dtype.kind not in "fiub":
        raise DataError(f"records are {x.dtype}, not numbers. Encode them as the model's training did.")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int(np.argmax(~np.isfinite(x.reshape(len(x), -1)).all(axis=1)))
        raise DataError(f"record {bad} holds NaN or infinity. Fill or drop such records as the model's training did.")
    return np.asarray(x, np.float32)
