"""A Source describes where a data set comes from; `load` reads, thins and checks it."""

from __future__ import annotations

import abc
import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from privsec.core.data import Dataset, Step
from privsec.core.errors import DataError, did_you_mean
from privsec.core.keys import derive, generator, root
from privsec.core.spec import Spec
from privsec.data.download import Download, download
from privsec.data.formats import sha256
from privsec.data.validation import as_features, as_labels, check


class Source(Spec):
    """Base of all data sets: a Spec whose `load` gives a checked Dataset."""

    limit: int | None = Field(default=None, ge=2)
    """Keep only this many records: a class-stratified subset by a fixed seed, the same in every run. None keeps all."""

    @property
    def fingerprint(self) -> str:
        """Digest of the bytes that would be read; empty where they come with a library."""
        return ""

    origin: ClassVar[str]
    """Who made the data, where to get them, and their terms as far as known."""

    def load(self) -> Dataset:
        """The whole data set on the host: read, thinned to `limit`, float32 features, int32 labels, checked.

        Images stored as bytes are divided by 255. Nothing is standardized here: those statistics may come from public
        records only (see `splits.standardized`).

        Raises:
            DataError: the file is missing, malformed, or not what the learner can use; the text names file and remedy.
        """
        try:
            data = self._read()
        except OSError as error:
            raise DataError(
                f"{self.title}: {error}. Check that the file can be read by you and is no folder."
            ) from None
        what = f"{self.title} ({data.source})"
        data = replace(data, y=as_labels(data.y, what))
        steps = [*data.steps, Step("read", len(data.x), data.source)]
        if self.limit is not None and len(data.x) == len(data.y):
            data = data.take(stratified(data.y, self.limit))
            steps.append(Step("limit", len(data.x), "a class-stratified part, by a fixed seed"))
        x = as_features(data.x, what)
        if data.x.dtype == np.uint8 and data.x.ndim == 4:
            steps.append(Step("scale", len(x), "bytes divided by 255"))
        return check(replace(data, x=x, steps=tuple(steps)), what)

    @property
    def title(self) -> str:
        """The data set's name in tables and messages."""
        return self.name  # type: ignore[attr-defined]

    @abc.abstractmethod
    def _read(self) -> Dataset:
        """The records as they are stored; features may still be bytes, labels any integers."""


class FileSource(Source):
    """A data set in a file or a folder: `path`, else `$PRIVSEC_DATA`, else one verified download."""

    unhashed: ClassVar[frozenset[str]] = frozenset({"path"})  # the content counts, wherever it lies

    path: str | None = None
    """File or folder, relative to the current directory. None looks in $PRIVSEC_DATA, then downloads where possible."""

    names: ClassVar[tuple[str, ...]] = ()
    """What the file or folder may be called in $PRIVSEC_DATA, best first."""
    downloads: ClassVar[tuple[Download, ...]] = ()
    """The public files and their checksums; empty where no checksum is known, for nothing unverified is downloaded."""
    layout: ClassVar[str]
    """What may lie at `path`, as one says it in an error message."""

    def locate(self) -> Path:
        """Where the data lie on this machine.

        Raises:
            DataError: nowhere; the text lists what was tried and how to get the data.
        """
        if self.path is not None:
            path = Path(self.path).expanduser()
            if path.exists():
                return path
            siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
            raise DataError(
                f"{self.title}: nothing at path {self.path!r} (tried {path.absolute()})."
                f"{did_you_mean(path.name, siblings)} A relative path starts at the directory the command runs in. "
                f"{self._wanted}"
            )
        folder = os.environ.get("PRIVSEC_DATA")
        candidates = [Path(folder).expanduser() / name for name in self.names] if folder else []
        for path in candidates:
            if path.exists():
                return path
        if self.downloads:
            return download(self.title, self.downloads)
        tried = f"tried {', '.join(map(str, candidates))}" if candidates else "$PRIVSEC_DATA is not set"
        raise DataError(
            f"{self.title}: no data found ({tried}), and no checksum of the public file is known, so it is not "
            f"downloaded. {self._wanted} Or put it into $PRIVSEC_DATA as {' or '.join(self.names)}."
        )

    @property
    def fingerprint(self) -> str:
        return sha256(self.locate())

    @property
    def _wanted(self) -> str:
        return f"Write `path:` of {self.layout}." + (f" Origin: {self.origin}." if self.names else "")


def stratified(y: np.ndarray, limit: int) -> np.ndarray:
    """Rows of a class-stratified random subset, in rising order, the same for the same labels in every run.

    Classes keep their shares up to rounding; a larger `limit` keeps the rows of a smaller one.

    Args:
        y: labels [N].
        limit: how many rows to keep; all when it is N or more.

    >>> np.bincount(np.repeat([0, 1], [60, 30])[stratified(np.repeat([0, 1], [60, 30]), 30)]).tolist()
    [20, 10]
    """
    random = generator(derive(root(0), "data", "limit"))
    tiebreak = random.permutation(len(y))
    quantile = np.empty(len(y))
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        quantile[rows] = (random.permutation(len(rows)) + 0.5) / len(rows)
    return np.sort(np.lexsort((tiebreak, quantile))[:limit])
