"""SMS spam: text messages as hashed bags of words."""

from __future__ import annotations

import re
import zlib
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.base import FileSource

CLASSES = ("ham", "spam")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?|\d+|[£$€!?%]")
"""A word, a number, or a sign that advertisements like."""
LONG = 4
"""Numbers of so many digits are one token: telephone numbers are all alike and all different."""


class SMSSpam(FileSource):
    """5,574 text messages, 747 of them spam (Almeida et al., 2011), as hashed bags of words.

    A word's column is its checksum modulo `width`, which no record has a say in; a message is the set of its words, of
    length 1. Nothing is fitted, so nothing of the candidates enters.
    """

    name: Literal["sms_spam"] = "sms_spam"

    width: int = Field(default=1024, ge=16, le=65536)
    """Columns; more of them let fewer words share one."""

    origin: ClassVar[str] = "https://doi.org/10.24432/C5CC84 (UCI), CC BY 4.0"
    names: ClassVar[tuple[str, ...]] = ("sms_spam.tsv", "SMSSpamCollection")
    layout: ClassVar[str] = "a tsv file, on each line ham or spam, a tab and the message, with or without a first line"

    def _read(self) -> Dataset:
        path = self.locate()
        rows = formats.read_csv(path, delimiter="\t", quoted=False)
        if len(rows[0]) != 2:
            raise DataError(f"{path}: has {len(rows[0])} cells a line, wanted a label and a message. {self._wanted}")
        rows = rows[1:] if rows[0] == ["label", "text"] else rows
        wrong = next((number for number, row in enumerate(rows) if row[0] not in CLASSES), None)
        if wrong is not None:
            raise DataError(f"{path}: message {wrong} is labelled {rows[wrong][0]!r}, not ham or spam. {self._wanted}")
        return Dataset(
            x=np.stack([bag(text, self.width) for _, text in rows]) if rows else np.zeros((0, self.width), np.float32),
            y=np.array([CLASSES.index(label) for label, _ in rows], np.int32),
            num_classes=2,
            box=(0.0, 1.0),
            class_names=CLASSES,
            feature_names=tuple(f"hash {column}" for column in range(self.width)),
            source=str(path),
            sha256=formats.sha256(path),
        )


def tokens(text: str) -> list[str]:
    """The words of a message, in order.

    >>> tokens("WINNER!! Don't miss £1000, call 08081560665")
    ['winner', '!', '!', "don't", 'miss', '£', '0000', 'call', '0000']
    """
    found = WORD.findall(text.lower())
    return ["0" * LONG if word.isdigit() and len(word) >= LONG else word for word in found]


def column_of(word: str, width: int) -> int:
    """The column that a word is counted in: 0 .. width-1, the same everywhere.

    >>> column_of("free", 1024)
    456
    """
    return zlib.crc32(word.encode()) % width


def bag(text: str, width: int) -> Float32[np.ndarray, " width"]:
    """The set of a message's words as a vector of length 1; 0 for a message without words."""
    columns = sorted({column_of(word, width) for word in tokens(text)})
    found = np.zeros(width, np.float32)
    if columns:
        found[columns] = 1 / np.sqrt(len(columns))
    return found
