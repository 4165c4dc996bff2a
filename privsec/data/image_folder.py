"""Your own images: a folder for each class."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from privsec.core.data import Dataset
from privsec.data import formats
from privsec.data.base import FileSource

Pixels = Annotated[int, Field(gt=0)]


class ImageFolder(FileSource):
    """PNG, JPEG, PGM, PPM or BMP files in one sub-folder a class, named after it."""

    name: Literal["image_folder"] = "image_folder"

    path: str  # type: ignore[assignment]  # here there is no default to look for
    """The folder that holds the class folders, relative to the current directory."""
    size: tuple[Pixels, Pixels] | None = None
    """Height and width in pixels to resize to; None demands that all images have the same size."""
    gray: bool = False
    """Read luminance [H, W, 1] instead of color [H, W, 3]."""

    origin: ClassVar[str] = "your own images"
    layout: ClassVar[str] = "a folder that holds one folder of images for each class"

    def _read(self) -> Dataset:
        path = self.locate()
        x, y, names = formats.read_image_folder(path, gray=self.gray, size=self.size)
        return Dataset(x, y, len(names), (0.0, 1.0), names, source=str(path), sha256=formats.sha256(path))
