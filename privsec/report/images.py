"""Records as small inline pictures: images as PNG data URIs, table rows as strips of their features."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

LARGEST = 60
"""Pixels along an image's longer side; larger ones are averaged down, since a page holds many."""
WIDEST = 480
"""Most features that a table row shows in its strip."""


def data_uri(record: np.ndarray, low: float, high: float) -> str:
    """The record as `data:image/png;base64,...`.

    Args:
        record: [H, W, C] with C = 1 or 3 (an image), or [D] (a table row, drawn as a strip of D greys).
        low: the value shown as black.
        high: the value shown as white.
    """
    values = np.clip((np.asarray(record, np.float64) - low) / max(high - low, 1e-12), 0, 1)
    if values.ndim != 3:
        flat = values.reshape(-1)[:WIDEST]
        columns = max(1, int(np.ceil(np.sqrt(len(flat)))))
        values = np.pad(flat, (0, -len(flat) % columns)).reshape(-1, columns, 1)
    return "data:image/png;base64," + base64.b64encode(png(_shrunk(values))).decode()


def pixels(shape: tuple[int, ...]) -> int:
    """How many values are shown of a record of this shape, at most.

    >>> pixels((56, 46, 1)), pixels((112, 92, 1)), pixels((8,))
    (2576, 2576, 8)
    """
    if len(shape) != 3:
        return min(shape[0], WIDEST)
    step = _step(shape)
    return (shape[0] // step) * (shape[1] // step) * shape[2]


def _step(shape: tuple[int, ...]) -> int:
    return -(-max(shape[:2]) // LARGEST)


def _shrunk(image: np.ndarray) -> np.ndarray:
    step = _step(image.shape)
    height, width = (size // step * step for size in image.shape[:2])
    blocks = image[:height, :width].reshape(height // step, step, width // step, step, image.shape[2])
    return blocks.mean(axis=(1, 3))


def png(image: np.ndarray) -> bytes:
    r"""The PNG file of an image [H, W, 1 or 3] with values in [0, 1], 8 bits deep; the same bytes for the same image.

    >>> png(np.zeros((2, 2, 1)))[:4]
    b'\x89PNG'
    """
    height, width, channels = image.shape
    if channels not in (1, 3):
        image, channels = image.mean(axis=2, keepdims=True), 1
    pixels = np.round(image * 255).astype(np.uint8).reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # each line opens with "no filter"
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
