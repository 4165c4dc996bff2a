"""What `privsec audit` was asked for: scores, a model with records, an endpoint, or a training with canaries."""

from __future__ import annotations

import os
from typing import Any

from privsec.auditor.audit import audit
from privsec.auditor.named import function_named, target_named
from privsec.auditor.policy import check_names, read_policy
from privsec.auditor.result import Audit
from privsec.auditor.sides import side_of
from privsec.auditor.training import audit_training
from privsec.auditor.training_record import audit_of
from privsec.core.errors import ConfigError
from privsec.core.target import Target

DELTA = 1e-5


def requested(
    *,
    members: str | None,
    non_members: str | None,
    model: str | None,
    url: str | None,
    classes: int | None,
    answers: str,
    token_env: str | None,
    budget: int | None,
    population: str | None,
    trainer: str | None,
    shadows: int,
    train: str | None,
    defense: str | None,
    canaries: int,
    kind: str,
    access: str,
    epsilon: float | None,
    delta: float | None,
    what: str | None,
    design: str,
    policy: str | None,
    fail_if: list[str] | None,
    title: str,
    seed: int,
) -> Audit:
    """The audit that these options describe; each is named as on the command line.

    Raises:
        ConfigError: options that contradict each other, or that lack one another.
        DataError: records or scores that cannot be audited.
    """
    subjects = {"--model": model, "--url": url, "--train": train}
    named = [name for name, given in subjects.items() if given is not None]
    if len(named) > 1:
        raise ConfigError(f"an audit has one subject: give one of {' and '.join(named)}")
    if train is not None:
        if members or non_members:
            raise ConfigError("--train draws its own members, by coins: leave --members and --non-members out")
        if epsilon is not None:
            raise ConfigError("--train accounts the epsilon of its own config: leave --epsilon out")
        if defense is None:
            raise ConfigError("--train takes --defense: the name of one of the config's defense lists")
        rules = read_policy(policy, fail_if or ())
        made = audit_training(
            train,
            defense=defense,
            canaries=canaries,
            kind=kind,  # type: ignore[arg-type]
            access=access,  # type: ignore[arg-type]
            seed=seed,
            delta=delta,
        )
        check_names(rules, [name for name in made.scores])
        return audit_of(made, rules, seed=seed, title=title)
    if members is None:
        raise ConfigError(
            "nothing to audit: give --members and --non-members (files of scores; of records, with --model or --url), "
            "or --train CONFIG --defense NAME"
        )
    settings: dict[str, Any] = {"design": design, "policy": policy, "fail_if": fail_if or (), "title": title}
    settings |= {"delta": DELTA if delta is None else delta, "seed": seed, "what": what}
    if epsilon is not None:
        settings["claim"] = (epsilon, settings["delta"])
    if named:
        settings["target"] = (
            target_named(model) if model else _endpoint(url, members, classes, answers, token_env, budget)
        )
        settings |= {"population": population, "shadows": shadows}
        settings["train"] = function_named(trainer) if trainer else None
    elif population or trainer:
        raise ConfigError("--population and --trainer are for a model that can be asked: give --model or --url")
    return audit(members, non_members, **settings)


def _endpoint(
    url: str | None, members: str, classes: int | None, answers: str, token_env: str | None, budget: int | None
) -> Target:
    from privsec.targets import from_url

    assert url is not None
    if classes is None:
        raise ConfigError("--url takes --classes: how many classes the model tells apart")
    headers = {}
    if token_env is not None:
        if token_env not in os.environ:
            raise ConfigError(f"--token-env {token_env}: there is no such environment variable")
        headers["Authorization"] = f"Bearer {os.environ[token_env]}"
    x = side_of(members, "members", records=True).x
    assert x is not None
    return from_url(url, num_classes=classes, shape=x.shape[1:], answers=answers, headers=headers, budget=budget)  # type: ignore[arg-type]
