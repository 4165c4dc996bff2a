"""What `privsec account` was asked for: a training's account, a ledger's balance, or both, entered."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from privsec.core.errors import ConfigError
from privsec.core.spec import Spec
from privsec.privacy.account import Accounting, Row, account
from privsec.privacy.ledger import Ledger, Terms
from privsec.privacy.releases import SampledGaussian


class Answer(NamedTuple):
    """Lines for a person, the numbers for a program, and what is unwise about them."""

    rows: list[Row]
    numbers: Spec
    warnings: tuple[str, ...]


def requested(
    *,
    ledger: Path | None = None,
    title: str = "",
    released: str = "",
    data: Path | None = None,
    budget: float | None = None,
    force: str = "",
    **training: Any,
) -> Answer:
    """The account of `training`; the balance of `ledger` where there is no training; entered into it where both are.

    Args:
        ledger: a ledger's file; begun where it does not exist and a training is entered.
        title: names the training in the ledger.
        released: what left the house.
        data: the data set's file.
        budget: the epsilon of a new ledger, None for no budget.
        force: why the training is entered although it breaks the budget.
        training: the arguments of `account.account`, None where not given.

    Raises:
        ConfigError: something is missing, given twice or out of range.
        OverBudget: the training would break the ledger's budget; nothing was written.
    """
    given = {name: value for name, value in training.items() if value is not None}
    if ledger is None:
        if title or released or data or budget or force:
            raise ConfigError("--title, --released, --data, --budget and --force speak of a ledger: name its file")
        return _of(_account(given))
    if given:
        return _balance(_enter(_account(given), ledger, title, released, data, budget, force))
    return _balance(Ledger.open(ledger))


def _account(given: dict[str, Any]) -> Accounting:
    if "delta" not in given:
        records = given.get("records")
        hint = f"for {records} records for example {0.1 / records:.0e}" if records else "for example 1e-5"
        raise ConfigError(f"give --delta, well below one over the number of records: {hint}")
    return account(**given)


def _enter(
    made: Accounting, path: Path, title: str, released: str, data: Path | None, budget: float | None, force: str
) -> Ledger:
    if not (title and released and data):
        raise ConfigError(
            "to enter a training into a ledger, give --title, --released and --data (the data set's file)"
        )
    try:
        with data.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{data}: cannot be read: {error.strerror}") from None
    if path.exists():
        book = Ledger.open(path)
        if budget is not None and budget != book.terms.epsilon:
            raise ConfigError(
                f"{path} was begun with a budget of {book.terms.epsilon}, which stands: leave --budget out"
            )
    else:
        terms = Terms(data=digest, delta=made.delta, epsilon=budget, records=made.records, title=data.name)
        book = Ledger.create(path, terms)
    return book.append(
        SampledGaussian.of(made.event),
        title=title,
        date=datetime.date.today(),
        released=released,
        data=digest,
        force=force,
    )


def _of(made: Accounting) -> Answer:
    return Answer(made.rows(), made, made.warnings)


def _balance(book: Ledger) -> Answer:
    now = book.balance()
    return Answer(book.rows(), now, now.warnings)
