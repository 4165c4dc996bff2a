"""Who trains on what: candidates in complementary pairs, and public records that no model ever sees."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import jax
import numpy as np

from privsec.core.data import Dataset, Splits, Step
from privsec.core.errors import ConfigError, DataError
from privsec.core.keys import derive, generator

By = Literal["record", "class"]
"""What a model is trained on or not: single records, or all records of a class (of a person, say)."""

MIN_PUBLIC = 20
"""Fewest records left outside the candidates: the attacker's population and the defender's holdout share them."""


def split(
    dataset: Dataset, size: int, models: int, key: jax.Array, *, holdout: float = 0.5, by: By = "record"
) -> Splits:
    """Draws the candidates, the public records, and which half of the candidates trains each model.

    The 2 * `size` candidates are chosen by the key alone. Pair p is drawn from the key and p: model 2p trains on a
    random exact half, model 2p + 1 on the other. So every candidate is in exactly half of the models, every model has
    exactly `size` records, and asking for more models later keeps the earlier ones.

    Where records come in tracks, tracks are drawn instead of records: no track has records in two of the three parts,
    and what the candidates' last one has too many belongs to none. Halves are drawn by tracks too, of which one is cut
    so that they are equal: what a model was not trained on is otherwise nothing like what it was.

    By class, whole classes are the attacker's population, so that he has no record of any class that a model knows. Of
    each other class the candidates are the same share, to the nearest record, and the rest is the defender's. Halves
    are drawn by class, of which one is cut so that they are equal: model 2p knows a class of which model 2p + 1 never
    saw a record.

    Args:
        dataset: N records.
        size: records each model is trained on.
        models: M, even.
        key: the key of this seed's splits.
        holdout: share of the public records that goes to the defender; the rest is the attacker's population.
        by: whether halves are drawn of records or of classes.

    Returns:
        Disjoint, sorted row indices and `include` bool [M, 2 * size].

    Raises:
        ConfigError: `models` is odd or below 2, `size` below 1, or `holdout` not strictly between 0 and 1.
        DataError: the data set has fewer than 2 * `size` + 20 records; the text states the largest possible size. Or
            whole tracks or classes leave too few public records.

    Dropping a target's complement from its references leaves every candidate in exactly half of them: how often a
    record occurs there then says nothing about the target. (Carlini et al., arXiv:2112.03570, balance inclusion alike.)
    """
    if models < 2 or models % 2:
        raise ConfigError(
            f"population.models is {models}, but models come in complementary pairs: write an even number, "
            f"{max(2, models + models % 2)} for example."
        )
    if size < 1:
        raise ConfigError(f"population.size is {size}; each model needs at least one record.")
    if not 0 < holdout < 1:
        raise ConfigError(f"holdout is {holdout}; write a share strictly between 0 and 1.")
    if 2 * size + MIN_PUBLIC > dataset.size:
        largest = (dataset.size - MIN_PUBLIC) // 2
        raise DataError(
            f"{dataset.source or 'the data set'}: population.size {size} needs {2 * size} candidates (half for each "
            f"model) and {MIN_PUBLIC} public records, but there are {dataset.size}. "
            + (f"The largest possible size is {largest}." if largest >= 1 else "The data set is too small to be split.")
        )
    parts = _by_class(dataset, size, key, holdout) if by == "class" else _by_record(dataset, size, key, holdout)
    candidates, population, held_out, group = parts
    include = np.zeros((models, 2 * size), bool)
    own = np.unique(group[candidates], return_inverse=True)[1]
    for pair in range(models // 2):
        include[2 * pair, _drawn(own, derive(key, "pair", pair))[:size]] = True
        include[2 * pair + 1] = ~include[2 * pair]
    return Splits(candidates, np.sort(population), np.sort(held_out), include)


Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Rows of the candidates (sorted), the population and the holdout; and what is drawn as one, int [N]."""


def _by_record(dataset: Dataset, size: int, key: jax.Array, holdout: float) -> Parts:
    track = np.arange(dataset.size) if dataset.tracks is None else np.unique(dataset.tracks, return_inverse=True)[1]
    order = _drawn(track, derive(key, "candidates"))
    candidates = np.sort(order[: 2 * size])
    public = order[2 * size :]
    public = public[~np.isin(track[public], track[candidates])]
    borders = np.flatnonzero(np.diff(track[public])) + 1  # where one track ends and the next begins
    if len(public) < MIN_PUBLIC or not borders.size:
        raise DataError(
            f"{dataset.source or 'the data set'}: its {dataset.size} records come in {track.max() + 1} tracks, which "
            f"stay whole; population.size {size} leaves {len(public)} records of other tracks, and {MIN_PUBLIC} of two "
            "tracks are needed. Write a smaller size."
        )
    wanted = min(max(round(holdout * len(public)), 1), len(public) - 1)
    cut = borders[np.argmin(np.abs(borders - wanted))]
    return candidates, public[cut:], public[:cut], track


def _by_class(dataset: Dataset, size: int, key: jax.Array, holdout: float) -> Parts:
    if dataset.tracks is not None:
        raise DataError(
            f"{dataset.source or 'the data set'}: population.by class divides the records of a class between "
            "candidates and holdout, but these come in tracks, which stay whole. Write by: record."
        )
    classes, counts = np.unique(dataset.y, return_counts=True)
    rng = generator(derive(key, "candidates"))
    order = rng.permutation(len(classes))
    wanted = round((1 - holdout) * (dataset.size - 2 * size))
    strangers = 1 + int(np.argmin(np.abs(np.cumsum(counts[order]) - wanted)))
    strange = np.isin(dataset.y, classes[order[:strangers]])
    rows = rng.permutation(np.flatnonzero(~strange))
    place = np.empty(len(rows))  # of each record in its class, as a share of it: a prefix takes as much of each class
    for label in classes[order[strangers:]]:
        here = np.flatnonzero(dataset.y[rows] == label)
        place[here] = (np.arange(len(here)) + rng.random()) / len(here)
    rows = rows[np.argsort(place, kind="stable")]
    candidates, held_out = rows[: 2 * size], rows[2 * size :]
    known = len(classes) - strangers
    if known < 2 or any(len(np.unique(dataset.y[part])) < known for part in (candidates, held_out)):
        raise DataError(
            f"{dataset.source or 'the data set'}: population.by class takes whole classes for the attacker "
            f"({strangers} of {len(classes)} here), and of at least two others candidates and a record each for the "
            f"defender; size {size} leaves {known} classes, and {len(held_out)} records for the defender. Write "
            "a smaller size, or by: record."
        )
    return np.sort(candidates), np.flatnonzero(strange), held_out, dataset.y


def _drawn(track: np.ndarray, key: jax.Array) -> np.ndarray:
    """Rows in random order, track after track; `track` int [N] numbers them from 0 without gaps."""
    place = np.argsort(generator(key).permutation(int(track.max()) + 1))
    return np.argsort(place[track], kind="stable")


def standardized(dataset: Dataset, public_rows: np.ndarray) -> Dataset:
    """The data set with its marked columns scaled to mean 0 and standard deviation 1 *of the public rows*.

    No statistic of a candidate enters, so preprocessing leaks nothing about who was trained on. A column that is
    constant among the public rows is only shifted. The grids of `constraints` and the values of `attributes` are scaled
    with their columns. Without marked columns the same object is returned.

    Args:
        dataset: a table [N, D] with `standardize` bool [D], or anything else.
        public_rows: indices of the rows whose mean and standard deviation are used.

    Raises:
        DataError: columns are marked, but there is no public row.
    """
    marked = dataset.standardize
    if marked is None or not marked.any():
        return dataset
    if not len(public_rows):
        raise DataError(f"{dataset.source}: columns are to be standardized by public records, but there is none.")
    public = dataset.x[public_rows].astype(np.float64)
    spread = np.where(np.ptp(public, axis=0) > 0, public.std(axis=0), 1.0)
    mean, deviation = np.where(marked, public.mean(axis=0), 0.0), np.where(marked, spread, 1.0)
    x = dataset.x.copy()
    x[:, marked] = ((x - mean) / deviation)[:, marked]
    rules = dataset.constraints
    if rules is not None:
        scaled = rules.step / deviation, (rules.offset - mean) / deviation
        step, offset = (part.astype(np.float32) for part in scaled)
        rules = rules._replace(step=step, offset=offset)
    attributes = {
        name: each._replace(
            values=((each.values - mean[each.columns]) / deviation[each.columns]).astype(each.values.dtype)
        )
        for name, each in dataset.attributes.items()
    }
    done = f"{int(marked.sum())} columns, to mean 0 and deviation 1 of {len(public_rows)} public records"
    steps = (*dataset.steps, Step("standardize", dataset.size, done))
    return replace(dataset, x=x, standardize=None, constraints=rules, attributes=attributes, steps=steps)
