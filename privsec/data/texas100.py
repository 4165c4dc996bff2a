"""Texas-100: hospital stays."""

from __future__ import annotations

from typing import ClassVar, Literal

from privsec.data.bits import BitTable


class Texas100(BitTable):
    """67,330 hospital stays, 6,169 binary features, the 100 most frequent procedures as classes.

    Made from the Texas hospital discharge data by Shokri et al., "Membership inference attacks against machine learning
    models" (IEEE S&P 2017, arXiv:1610.05820). No checksum of the archive is known to this project, so `path` or
    $PRIVSEC_DATA must hold it. The whole set takes 1.7 GB as float32; `limit` thins it before that.
    """

    name: Literal["texas100"] = "texas100"

    origin: ClassVar[str] = (
        "dataset_texas.tgz of https://github.com/privacytrustlab/datasets, academic use (Texas Department of Health)"
    )
    names: ClassVar[tuple[str, ...]] = ("texas100.npz", "dataset_texas.tgz", "texas")
    layout: ClassVar[str] = (
        "an npz (features [N, 6169], labels 0..99), dataset_texas.tgz, or a folder with 100/feats, 100/labels"
    )
    members: ClassVar[tuple[str, ...]] = ("100/feats", "100/labels")
    columns: ClassVar[int] = 6169
    classes: ClassVar[int] = 100
