"""An exam is a table of named requirements; a subject that misses one is told which, and what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from privsec.core.data import Array
from privsec.core.spec import Spec

S = TypeVar("S")
Check = Callable[[S], None]
"""Raises AssertionError, with a remedy in its text, where the subject misses what the docstring's first line states."""

SOURCE = re.compile(r"arxiv|doi|https?://|IEEE|USENIX|ACM|CCS|NDSS|ICML|ICLR|NeurIPS|JMLR|CVPR|RFC", re.IGNORECASE)
YEAR = re.compile(r"\b(19|20)\d\d\b")


def examine(subject: S, checks: Mapping[str, Check[S]], skip: Iterable[str]) -> None:
    """Runs every check but those of `skip`, and tells all failures at once.

    Raises:
        AssertionError: one paragraph for each requirement that the subject misses.
        ValueError: `skip` names a check that does not exist.
    """
    if unknown := sorted(set(skip) - set(checks)):
        raise ValueError(f"no such check: {', '.join(unknown)}; the checks are {', '.join(checks)}")
    failures = []
    for name, check in checks.items():
        if name in skip:
            continue
        try:
            check(subject)
        except Exception as error:  # a crash is a failed requirement too, and must not hide the others
            what = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            failures.append(f"[{name}] {(check.__doc__ or '').splitlines()[0]}\n    {what}")
    if failures:
        raise AssertionError(
            f"{subject!r} fails {len(failures)} of {len(checks)} requirements:\n" + "\n".join(failures)
        )


def require(condition: object, text: str) -> None:
    """Raises AssertionError with `text` unless the condition holds; unlike `assert`, also under `python -O`."""
    if not condition:
        raise AssertionError(text)


def is_its_config(spec: Spec) -> None:
    """A Spec equals its JSON: what is built from it again is equal, hashes alike and computes the same."""
    copy = rebuilt(spec)
    require(copy == spec, f"built again from {spec.to_json()} it is {copy!r}: let every field be plain JSON values")
    require(
        hash(copy) == hash(spec) and copy.digest == spec.digest,
        "equal Specs differ in hash or digest: do not override them",
    )


def is_documented(spec: Spec) -> None:
    """A Spec says in one line what it does, and so does every field."""
    kind = type(spec)
    line = next(iter((kind.__doc__ or "").strip().splitlines()), "")
    require(len(line.split()) >= 3, f"{kind.__name__} has no docstring; its first line stands in the catalog")
    for name, field in kind.model_fields.items():
        if name != "name":
            require(field.description, f"field {name!r} has no docstring: write one on the line below it")


def cites(paper: str | None) -> None:
    """A method names where it comes from: authors, year, and an arXiv number, DOI, address or venue."""
    require(
        paper and SOURCE.search(paper) and YEAR.search(paper),
        f"`paper` is {paper!r}: write authors, year and an arXiv number, a DOI or a venue",
    )


def read_only(part: Array) -> np.ndarray:
    """A copy that whoever writes into it gets an error of."""
    copy = np.array(part)
    copy.flags.writeable = False
    return copy


@contextlib.contextmanager
def writing_nothing(what: str, instead: str) -> Iterator[None]:
    """Says it plainly where something is written into a `read_only` copy."""
    try:
        yield
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise AssertionError(f"{what} writes into the records that it was given: {instead}") from error


def rebuilt(spec: Spec) -> Spec:
    """Another object of the same config."""
    return type(spec).model_validate_json(spec.model_dump_json())
