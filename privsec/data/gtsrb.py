"""GTSRB: German traffic signs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.base import FileSource

SIGNS = (
    "speed limit 20",
    "speed limit 30",
    "speed limit 50",
    "speed limit 60",
    "speed limit 70",
    "speed limit 80",
    "end of speed limit 80",
    "speed limit 100",
    "speed limit 120",
    "no passing",
    "no passing for trucks",
    "right of way at the next crossing",
    "priority road",
    "yield",
    "stop",
    "no vehicles",
    "no trucks",
    "no entry",
    "danger",
    "bend to the left",
    "bend to the right",
    "double bend",
    "bumpy road",
    "slippery road",
    "road narrows on the right",
    "road works",
    "traffic lights",
    "pedestrians",
    "children",
    "bicycles",
    "ice or snow",
    "wild animals",
    "end of all limits",
    "turn right ahead",
    "turn left ahead",
    "ahead only",
    "straight or right",
    "straight or left",
    "keep right",
    "keep left",
    "roundabout",
    "end of no passing",
    "end of no passing for trucks",
)
"""The benchmark's 43 classes in its own order: 13 is the yield sign, 14 the stop sign."""


class GTSRB(FileSource):
    """German traffic signs: color images [32, 32, 3] of 43 classes, frames of short films (Stallkamp et al., 2012).

    Frames of one film (a track) show one sign and stay on one side of every split. No checksum of the resized images is
    known to this project, so `path` or $PRIVSEC_DATA must hold them.
    """

    name: Literal["gtsrb"] = "gtsrb"

    classes: tuple[Annotated[int, Field(ge=0, lt=len(SIGNS))], ...] | None = Field(default=None, min_length=2)
    """Keeps these of the benchmark's classes, numbered anew in this order; all where absent."""
    part: Literal["both", "train"] = "both"
    """The test images come without their tracks, so each counts as its own, and two may show one sign; `train` leaves
    them out."""

    origin: ClassVar[str] = (
        "INI Bochum, the German Traffic Sign Recognition Benchmark, https://benchmark.ini.rub.de, research"
    )
    names: ClassVar[tuple[str, ...]] = ("gtsrb32.npz",)
    layout: ClassVar[str] = (
        "an npz (x_train, x_test: bytes [N, 32, 32, 3]; y_train, y_test: 0..42; track_train: integers)"
    )

    def _read(self) -> Dataset:
        path = self.locate()
        x, y, track, x_test, y_test = formats.read_npz(path, ("x_train", "y_train", "track_train", "x_test", "y_test"))
        if x.dtype != np.uint8 or x.shape[1:] != (32, 32, 3) or track.shape != y.shape:
            raise DataError(f"{path}: holds {x.dtype} {x.shape} and tracks {track.shape}. {self._wanted}")
        if self.part == "both":
            alone = int(track.max()) + 1 + np.arange(len(y_test))
            with formats.explained(path, "joined arrays x_train, x_test"):
                x, y, track = np.concatenate([x, x_test]), np.concatenate([y, y_test]), np.concatenate([track, alone])
        kept = tuple(range(len(SIGNS))) if self.classes is None else self.classes
        rows = np.isin(y, kept)
        return Dataset(
            x=x[rows],
            y=np.argmax(y[rows, None] == np.array(kept), axis=1),
            num_classes=len(kept),
            box=(0.0, 1.0),
            class_names=tuple(SIGNS[sign] for sign in kept),
            tracks=track[rows].astype(np.int32),
            source=str(path),
            sha256=formats.sha256(path),
        )
