"""Readers of file formats: npz, csv, idx, binary tables, images. Nothing is ever unpickled or extracted to disk.

Every reader raises DataError that names the file, what is wrong with it and what to do.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from privsec.core.errors import DataError, did_you_mean

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".bmp"})


def sha256(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of its files' relative names and digests in sorted order."""
    if path.is_dir():
        entries = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        listing = "".join(f"{sha256(file)}  {name}\n" for name, file in entries)
        return hashlib.sha256(listing.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def explained(path: Path, kind: str) -> Iterator[None]:
    """Turns what a broken file makes the standard readers raise into a DataError that says so."""
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, tarfile.TarError, struct.error) as error:
        raise DataError(
            f"{path}: cannot be read as {kind}: {error or type(error).__name__}. The file may be truncated (compare "
            "its size or checksum with the original and fetch it again), or of another format."
        ) from None


def read_npz(path: Path, keys: Sequence[str]) -> list[np.ndarray]:
    """The arrays named `keys` of an npz file, without pickles.

    Raises:
        DataError: not an npz, truncated, a key is missing (the text lists those there are), or an array of objects.
    """
    with explained(path, "npz without pickles"), path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise DataError(f"{path}: is one array (npy); an npz with {', '.join(keys)} is needed (`numpy.savez`).")
        there = file.files
        for key in keys:
            if key not in there:
                raise DataError(f"{path}: has no array {key!r}; it holds {', '.join(there)}.{did_you_mean(key, there)}")
        return [file[key] for key in keys]


def read_csv(
    path: Path, *, delimiter: str = ",", encoding: str = "utf-8", skip: str | None = None, quoted: bool = True
) -> list[list[str]]:
    """The rows of a csv file as stripped text, blank lines and lines that start with `skip` left out.

    Quotes are text like any other where the file is not `quoted`, as in tsv.

    Raises:
        DataError: not text in this encoding, badly quoted, empty, or rows of different length (the first is named).
    """
    rows: list[list[str]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig" if encoding == "utf-8" else encoding) as stream:
            quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
            reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True, quoting=quoting)
            for cells in reader:
                if not cells or (skip and cells[0].startswith(skip)):
                    continue
                if rows and len(cells) != len(rows[0]):
                    raise DataError(
                        f"{path}: line {reader.line_num} has {len(cells)} cells, the first line {len(rows[0])}. A cell "
                        f"that contains the delimiter {delimiter!r} must be quoted, or the `delimiter` is another."
                    )
                rows.append([cell.strip() for cell in cells])
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            f"{path}: is not {encoding} text: {error}. Write its `encoding:`, for example latin-1."
        ) from None
    except csv.Error as error:
        raise DataError(
            f"{path}: is not well-formed csv near line {len(rows) + 1}: {error}. Mend the quotes."
        ) from None
    if not rows:
        raise DataError(f"{path}: is empty. Is it the right file?")
    return rows


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an idx file, gzipped or not (the format of the original MNIST).

    Raises:
        DataError: another magic number, or fewer or more bytes than the header announces.
    """
    with explained(path, "idx"):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read()
        zero, kind, rank = struct.unpack_from(">HBB", content)
        if zero or kind != 8:
            raise ValueError(f"starts with {content[:4].hex()}, not with the header of a byte array (000008..)")
        shape = struct.unpack_from(f">{rank}I", content, 4)
        body = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
        if body.size != np.prod(shape, dtype=np.int64):
            raise ValueError(f"the header announces {shape}, but {body.size} bytes follow")
    return body.reshape(shape)


@contextlib.contextmanager
def members(path: Path, names: Sequence[str]) -> Iterator[list[IO[bytes]]]:
    """The named files inside a tar archive or a folder, opened for reading; nothing is extracted to disk.

    A name matches where the file's own path ends with it; in a folder its last part alone is enough.

    Raises:
        DataError: a name is not there.
    """
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            there = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
            yield [stack.enter_context(there[_ending(path, there, name)].open("rb")) for name in names]
        else:
            with explained(path, "tar archive"):
                archive = stack.enter_context(tarfile.open(path))
                there = {member.name: member for member in archive.getmembers() if member.isfile()}
            streams = [archive.extractfile(there[_ending(path, there, name)]) for name in names]
            yield [stream for stream in streams if stream is not None]


def _ending(path: Path, there: Iterable[str], name: str) -> str:
    for wanted in (name, name.rsplit("/", 1)[-1]):
        for found in there:
            if f"/{found}".endswith(f"/{wanted}"):
                return found
    listed = ", ".join(list(there)[:8]) or "nothing"
    raise DataError(f"{path}: has no {name!r} inside; it holds {listed}.")


def read_bits(stream: IO[bytes], path: Path) -> np.ndarray:
    """A headerless csv of small whole numbers as uint8 [N, D]; cells may be quoted."""
    with explained(path, "a table of whole numbers 0..255"):
        text = io.TextIOWrapper(stream, encoding="ascii")
        table = np.loadtxt(text, dtype=np.uint8, delimiter=",", quotechar='"', comments=None, ndmin=2)
        text.detach()
    return table


def read_image(path: Path, *, gray: bool = False, size: tuple[int, int] | None = None) -> np.ndarray:
    """One image as uint8 [H, W, C], C = 1 when `gray` else 3.

    Args:
        path: the file.
        gray: convert to luminance.
        size: height and width to resize to (bilinear, with antialiasing); None keeps the stored size.
    """
    from PIL import Image

    with explained(path, "an image"), Image.open(path) as image:
        image = image.convert("L" if gray else "RGB")
        if size is not None:
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return pixels[..., None] if gray else pixels


def read_image_folder(
    path: Path, *, gray: bool = False, size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images of a folder with one sub-folder a class: uint8 [N, H, W, C], labels int64 [N], class names.

    Classes are sorted by name, numbers inside names by value (`s2` before `s10`); hidden files are passed over.

    Raises:
        DataError: no class folders, a class without images, or images of different size and no `size` given.
    """
    if not path.is_dir():
        raise DataError(f"{path}: is not a folder; one with a sub-folder for each class is needed.")
    folders = sorted((f for f in path.iterdir() if f.is_dir() and not f.name.startswith(".")), key=_natural)
    if not folders:
        raise DataError(f"{path}: has no sub-folders; put the images of each class into a folder named after it.")
    images, labels = [], []
    for label, folder in enumerate(folders):
        files = sorted((f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES), key=_natural)
        if not files:
            raise DataError(f"{folder}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}). Fill it or remove it.")
        for file in files:
            image = read_image(file, gray=gray, size=size)
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"{file}: is {image.shape[0]} x {image.shape[1]}, the first image {images[0].shape[0]} x "
                    f"{images[0].shape[1]} pixels. Write `size: [height, width]` to resize all of them."
                )
            images.append(image)
            labels.append(label)
    return np.stack(images), np.array(labels), tuple(folder.name for folder in folders)


def _natural(path: Path) -> tuple:
    import re

    return tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name) if part
    )
