"""Fashion-MNIST: articles of clothing."""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.data.download import Download
from privsec.data.pictures import IdxPictures

HOST = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"


class FashionMNIST(IdxPictures):
    """70,000 gray images [28, 28, 1] of ten kinds of clothing (Xiao, Rasul, Vollgraf, arXiv:1708.07747)."""

    name: Literal["fashion_mnist"] = "fashion_mnist"

    origin: ClassVar[str] = "https://github.com/zalandoresearch/fashion-mnist, MIT license"
    names: ClassVar[tuple[str, ...]] = ("fashion_mnist.npz", "fashion_mnist", "FashionMNIST/raw")
    class_names: ClassVar[tuple[str, ...]] = (
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            f"{HOST}/train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        Download(
            f"{HOST}/train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        Download(
            f"{HOST}/t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        Download(
            f"{HOST}/t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
    )
