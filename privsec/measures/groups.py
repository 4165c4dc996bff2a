"""Membership of persons instead of records: the scores of all records of one person, taken together.

Who owns several records is easier to recognize than any one of them, and protecting records does not protect persons.
The result is evidence and truth about G groups, which every measure of membership takes as it takes records; intervals
then count groups.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from privsec.core.errors import DataError
from privsec.core.evidence import MembershipScores

Aggregate = Literal["mean", "sum", "max"]


class Groups(NamedTuple):
    """Evidence and truth about G groups: scores [T, G], membership [T, G], ids [G] in ascending order."""

    evidence: MembershipScores
    member: Bool[np.ndarray, "T G"]
    ids: Shaped[np.ndarray, " G"]


def of_groups(
    evidence: MembershipScores,
    member: Bool[np.ndarray, "T N"],
    groups: Shaped[np.ndarray, " N"],
    aggregate: Aggregate = "mean",
) -> Groups:
    """One score for each group of records.

    - `sum`: where scores are log-likelihood ratios (LiRA, BaVarIA), the log-likelihood ratio of the whole group, if its
      records' answers are independent: the strongest choice there. Large groups get large scores of either sign.
    - `mean`: the same without the size; for scores on any scale.
    - `max`: the group is as suspicious as its most suspicious record; favors large groups, members or not.

    Args:
        evidence: of N records; NaN scores (not attacked) are left out, and a group without any score has none.
        member: who was in target t's training set.
        groups: whom each record belongs to: numbers or names.
        aggregate: how the scores of a group become one.

    Raises:
        DataError: the shapes differ, or a group is partly in a training set and partly not: neither answer would be
            true of it.

    >>> import numpy as np
    >>> scores = MembershipScores(np.array([[1.0, 3.0, -1.0, np.nan]]))
    >>> found = of_groups(scores, np.array([[True, True, False, False]]), np.array(["ann", "ann", "bob", "bob"]))
    >>> found.evidence.scores.tolist(), found.member.tolist(), found.ids.tolist(), found.evidence.queries
    ([[2.0, -1.0]], [[True, False]], ['ann', 'bob'], 1.5)

    References: Kandpal et al. 2023, "User inference attacks on large language models", arXiv 2310.09266.
    """
    scores, member, groups = np.asarray(evidence.scores, np.float64), np.asarray(member, bool), np.asarray(groups)
    if scores.shape != member.shape or scores.ndim != 2 or groups.shape != scores.shape[1:]:
        raise DataError(
            f"scores and membership must be [targets, records] and groups [records]: got {scores.shape}, "
            f"{member.shape} and {groups.shape}"
        )
    ids, codes = np.unique(groups, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(ids)))
    inside = np.add.reduceat(member[:, order], starts, axis=1, dtype=np.int64)
    sizes = np.diff(np.append(starts, len(codes)))
    mixed = (inside > 0) & (inside < sizes)
    if mixed.any():
        t, g = (int(index[0]) for index in np.nonzero(mixed))
        raise DataError(
            f"group {ids[g].item()!r} has {inside[t, g]} of its {sizes[g]} records in the training set of target {t}: "
            "membership of a group is all or nothing. Draw training sets by group, or attack single records."
        )
    scored = ~np.isnan(scores[:, order])
    counts = np.add.reduceat(scored, starts, axis=1, dtype=np.int64)
    if aggregate == "max":
        joined = np.maximum.reduceat(np.where(scored, scores[:, order], -np.inf), starts, axis=1)
    else:
        joined = np.add.reduceat(np.where(scored, scores[:, order], 0.0), starts, axis=1)
        if aggregate == "mean":
            joined = joined / np.maximum(counts, 1)
    queries = evidence.queries * float(counts.sum() / max(np.count_nonzero(counts), 1))
    return Groups(MembershipScores(np.where(counts > 0, joined, np.nan), queries), inside > 0, ids)
