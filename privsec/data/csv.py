"""Your own table."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from privsec.core.data import Dataset
from privsec.data import formats
from privsec.data.ruled import RuledSource
from privsec.data.tables import Table


class Csv(RuledSource, Table):
    """A csv file whose first line names the columns; numeric and categorical ones are told apart by their values."""

    name: Literal["csv"] = "csv"

    path: str  # type: ignore[assignment]  # here there is no default to look for
    """The csv file, relative to the current directory."""
    target: str
    """The column that holds the class."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """What separates the cells, one character."""
    encoding: str = "utf-8"
    """How the text is encoded, for example latin-1."""

    origin: ClassVar[str] = "your own file"
    layout: ClassVar[str] = "a csv file whose first line names the columns"

    @property
    def form(self) -> dict[str, str]:
        return {"kind": "table", "delimiter": self.delimiter, "encoding": self.encoding}

    def _read(self) -> Dataset:
        path = self.locate()
        header, *rows = formats.read_csv(path, delimiter=self.delimiter, encoding=self.encoding)
        return self._encode(header, rows, self.target, str(path), formats.sha256(path))
