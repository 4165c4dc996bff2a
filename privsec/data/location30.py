"""Location-30: who was where in Bangkok."""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.data.bits import BitTable
from privsec.data.download import Download


class Location30(BitTable):
    """5,010 users, 446 binary visits to places and regions, 30 clusters as classes.

    Made from Foursquare check-ins by Shokri et al., "Membership inference attacks against machine learning models"
    (IEEE S&P 2017, arXiv:1610.05820).
    """

    name: Literal["location30"] = "location30"

    origin: ClassVar[str] = "https://github.com/privacytrustlab/datasets, academic use"
    names: ClassVar[tuple[str, ...]] = ("location30.npz", "dataset_location.tgz", "bangkok")
    layout: ClassVar[str] = (
        "an npz (features [N, 446], labels 0..29), dataset_location.tgz, or the file `bangkok` in it"
    )
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "https://raw.githubusercontent.com/privacytrustlab/datasets/169de9de00de049dd2e571cf7279e64698ac046a/dataset_location.tgz",
            "927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33",
        ),
    )
    members: ClassVar[tuple[str, ...]] = ("bangkok",)
    columns: ClassVar[int] = 446
    classes: ClassVar[int] = 30
