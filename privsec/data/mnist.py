"""MNIST: handwritten digits."""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.data.download import Download
from privsec.data.pictures import IdxPictures


class MNIST(IdxPictures):
    """70,000 gray images [28, 28, 1] of ten digits, the 60,000 training images first (LeCun et al., 1998)."""

    name: Literal["mnist"] = "mnist"

    origin: ClassVar[str] = "LeCun, Cortes, Burges: the MNIST database, CC BY-SA 3.0"
    names: ClassVar[tuple[str, ...]] = ("mnist.npz", "mnist", "MNIST/raw")
    class_names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
            "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        ),
    )
