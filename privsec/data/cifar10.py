"""CIFAR-10: small color photographs."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from privsec.core.errors import DataError
from privsec.data import formats
from privsec.data.download import Download
from privsec.data.pictures import Pictures

RECORD = 1 + 3 * 32 * 32


class CIFAR10(Pictures):
    """60,000 color images [32, 32, 3] of ten things, the training images first (Krizhevsky, 2009).

    The binary version is read, packed or unpacked; the Python version is pickled and therefore refused. An npz may hold
    any share of the images.
    """

    name: Literal["cifar10"] = "cifar10"

    origin: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html (the binary version), research"
    names: ClassVar[tuple[str, ...]] = ("cifar10.npz", "cifar-10-batches-bin", "cifar-10-binary.tar.gz")
    layout: ClassVar[str] = (
        "an npz (x_train, y_train, x_test, y_test), cifar-10-binary.tar.gz, or the folder cifar-10-batches-bin in it"
    )
    size: ClassVar[tuple[int, int, int]] = (32, 32, 3)
    class_names: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
    )

    def _from_original(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        if "python" in path.name or (path / "data_batch_1").is_file():
            raise DataError(
                f"{path}: is the Python version of CIFAR-10, which is pickled; a pickle can run code and is not read. "
                f"Get the binary version. {self._wanted}"
            )
        batches = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
        with formats.members(path, batches) as streams:
            content = []
            for stream, batch in zip(streams, batches, strict=True):
                with formats.explained(path, "CIFAR-10 batches"):
                    content.append(stream.read())
                if not content[-1] or len(content[-1]) % RECORD:
                    raise DataError(
                        f"{path}: {batch} has {len(content[-1])} bytes, not a multiple of {RECORD} (a label and 3 x 32 "
                        "x 32 pixels): it is truncated or of another data set. Fetch the archive again."
                    )
        records = np.frombuffer(b"".join(content), np.uint8).reshape(-1, RECORD)
        return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0]
