"""The ORL (AT&T) database of faces."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.base import FileSource


class ORLFaces(FileSource):
    """400 gray portraits [112, 92, 1] of 40 people, ten each (Samaria and Harter, WACV 1994).

    The faces that Fredrikson, Jha and Ristenpart (CCS 2015) reconstructed from a model. No checksum of the archive is
    known to this project, so `path` or $PRIVSEC_DATA must hold it.
    """

    name: Literal["orl_faces"] = "orl_faces"

    scale: Literal[1, 2, 4] = 1
    """Shrink both sides by this factor (mean of each block): 112 x 92, 56 x 46 or 28 x 23 pixels."""

    origin: ClassVar[str] = "AT&T Laboratories Cambridge, the database of faces, research use with credit to AT&T"
    names: ClassVar[tuple[str, ...]] = ("orl_faces.npz", "orl_faces", "att_faces")
    layout: ClassVar[str] = "an npz (images [400, 112, 92], labels 0..39) or a folder with s1/1.pgm ... s40/10.pgm"

    def _read(self) -> Dataset:
        path = self.locate()
        if path.suffix == ".npz":
            x, y = formats.read_npz(path, ("images", "labels"))
        else:
            x, y, _ = formats.read_image_folder(path, gray=True)
        x = x[..., None] if x.ndim == 3 else x
        if x.shape[1:] != (112, 92, 1) or x.dtype != np.uint8:
            raise DataError(
                f"{path}: holds {x.dtype} {x.shape[1:]}; wanted bytes, 112 x 92 pixels, gray. {self._wanted}"
            )
        if self.scale > 1:
            blocks = x.reshape(len(x), 112 // self.scale, self.scale, 92 // self.scale, self.scale, 1)
            x = blocks.mean(axis=(2, 4)) / 255
        names = tuple(f"s{person}" for person in range(1, 41))
        return Dataset(x, y, 40, (0.0, 1.0), names, source=str(path), sha256=formats.sha256(path))
