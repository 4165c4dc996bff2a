"""Purchase-100: shopping baskets."""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.data.bits import BitTable


class Purchase100(BitTable):
    """197,324 customers, 600 binary purchases, 100 clusters as classes.

    Made from a Kaggle challenge by Shokri et al., "Membership inference attacks against machine learning models" (IEEE
    S&P 2017, arXiv:1610.05820). No checksum of the archive is known to this project, so `path` or $PRIVSEC_DATA must
    hold it.
    """

    name: Literal["purchase100"] = "purchase100"

    origin: ClassVar[str] = (
        "dataset_purchase.tgz of https://github.com/privacytrustlab/datasets, academic use (from a Kaggle challenge)"
    )
    names: ClassVar[tuple[str, ...]] = ("purchase100.npz", "dataset_purchase.tgz", "dataset_purchase")
    layout: ClassVar[str] = (
        "an npz (features [N, 600], labels 0..99), dataset_purchase.tgz, or `dataset_purchase` in it"
    )
    members: ClassVar[tuple[str, ...]] = ("dataset_purchase",)
    columns: ClassVar[int] = 600
    classes: ClassVar[int] = 100
