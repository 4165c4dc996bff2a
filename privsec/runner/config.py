"""One experiment a file: parsed and validated as a whole, even the last attack, before anything is computed."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pydantic
import yaml
from pydantic import Field, field_validator, model_validator

from privsec.attacks import ATTACKS
from privsec.core.access import Access
from privsec.core.errors import ConfigError
from privsec.core.spec import Spec, SpecError, explain
from privsec.data import DATASETS
from privsec.data.splits import By
from privsec.defenses import DEFENSES
from privsec.nets import NETS
from privsec.runner.executors import EXECUTORS
from privsec.training.standard import Training

if TYPE_CHECKING:
    from privsec.core.attack import Attack as AnyAttack
    from privsec.core.defense import Defense as AnyDefense
    from privsec.data.base import Source as AnySource
    from privsec.nets.base import Net as AnyNet
    from privsec.runner.executors.base import Executor as AnyExecutor
else:
    AnyAttack, AnyDefense, AnySource, AnyNet = ATTACKS.union, DEFENSES.union, DATASETS.union, NETS.union
    AnyExecutor = EXECUTORS.union


class Population(Spec):
    """The models trained per seed and defense; every one is a target in turn, the others are its references."""

    models: int = Field(default=16, ge=2)
    """How many models: complementary pairs, so an even number."""
    size: int = Field(default=500, ge=2)
    """Records each model is trained on; twice as many are candidates, the rest is public."""
    points: int = Field(default=1000, ge=1)
    """How many of the attacker's records, at most, are changed by attacks on single records (evasion), and on how
    many a stolen model is compared with its victim (extraction)."""
    by: By = "record"
    """What the twin of a model was not trained on: the same records (`record`), or anything of the same classes
    (`class`): class inversion then shows whom a model knows, as the attacker has records of other classes only."""

    @property
    def unhashed(self) -> frozenset[str]:  # type: ignore[override]
        """Runs of single records keep the name that they had before there was a choice."""
        return frozenset({"by"}) if self.by == "record" else frozenset()

    @field_validator("models")
    @classmethod
    def _even(cls, models: int) -> int:
        if models % 2:
            raise ValueError(f"models come in complementary pairs: write {models - 1} or {models + 1}")
        return models


class Experiment(Spec):
    """A whole experiment: what is trained, what defends it, what attacks it, how often."""

    title: str = Field(min_length=1, max_length=200)
    """Names the run folder and heads the report."""
    data: AnySource
    """Where the records come from."""
    net: AnyNet = Field(default_factory=lambda: NETS.parse({"name": "mlp"}))
    """The architecture of every model."""
    training: Training = Field(default_factory=Training)
    """How every model is trained before defenses change it."""
    population: Population = Field(default_factory=Population)
    """How many models, on how many records."""
    defenses: dict[str, tuple[AnyDefense, ...]] = Field(default_factory=lambda: {"none": ()}, min_length=1)
    """Named lists of defenses, each composed left to right; the empty list is no defense."""
    attacks: tuple[AnyAttack, ...] = Field(min_length=1)
    """The attacks; every one meets every defense."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """Everything is repeated for each seed: split, training, attack."""
    access: Literal["labels", "scores", "logits", "gradients", "weights"] = "weights"
    """The most that any attacker is given; attacks that need more are reported as not applicable."""
    executor: AnyExecutor = Field(default_factory=lambda: EXECUTORS.parse({"name": "local"}))
    """Who computes it: this process, several processes, or a Ray cluster. The numbers do not hang on it."""

    unhashed: ClassVar[frozenset[str]] = frozenset({"executor"})
    """Who computes a run does not name it: started elsewhere, the same run goes on."""

    @field_validator("defenses")
    @classmethod
    def _named(cls, defenses: dict[str, tuple[AnyDefense, ...]]) -> dict[str, tuple[AnyDefense, ...]]:
        for name in defenses:
            if not name.strip():
                raise ValueError("a defense list needs a name")
        return defenses

    @model_validator(mode="after")
    def _distinct(self) -> Experiment:
        titles = [attack.title for attack in self.attacks]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"two attacks are called {title!r} in the table; give one of them a `label`")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is named twice, which would count the same numbers twice")
        return self

    @property
    def granted(self) -> Access:
        """The access that the experiment's threat model gives to the strongest attacker."""
        return Access[self.access.upper()]


def load(
    source: str | Path | dict[str, Any] | Experiment, overrides: Iterable[str] = (), executor: str | None = None
) -> Experiment:
    """The Experiment in a file (YAML, TOML or JSON by its ending), a mapping, or already at hand.

    Args:
        source: where the config is.
        overrides: `"a.b=value"` settings, applied in order; the value is read as YAML.
        executor: takes the place of the config's, whose settings stay where it has this name.

    Raises:
        ConfigError: every problem with its file, path, what was given and what is allowed.
    """
    if isinstance(source, Experiment):
        origin, values = "experiment", source.model_dump(mode="json")
    elif isinstance(source, dict):
        origin, values = "config", source
    else:
        origin, values = str(source), _read(Path(source))
    if executor is not None:
        said = values.get("executor")
        same = isinstance(said, dict) and said.get("name") == executor
        values = {**values, "executor": said if same else {"name": executor}}
    for override in overrides:
        values = _set(values, override)
    try:
        return Experiment.model_validate(values)
    except pydantic.ValidationError as error:
        raise SpecError(origin, explain(error, values)) from None


def schema() -> dict[str, Any]:
    """The JSON schema of a config file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Experiment.model_json_schema(mode="validation"),
    }


def _read(path: Path) -> dict[str, Any]:
    if path.suffix.lower() not in _READERS:
        raise ConfigError(f"{path}: a config file ends in {', '.join(_READERS)}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = sorted(str(p) for p in Path("configs").glob("*.yaml"))
        have = f" Configs here: {', '.join(near)}." if near else ""
        raise ConfigError(f"{path}: there is no such file.{have}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    try:
        values = _READERS[path.suffix.lower()](text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: {_where(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a config is a mapping with `title`, `data`, `attacks`; got {type(values).__name__}")
    return values


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error instead of a silent last word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """The mapping of `node`."""
        seen = set()
        for key, _ in node.value:
            name = str(self.construct_object(key, deep=True))  # type: ignore[no-untyped-call]
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name!r} is given twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _where(error: Exception) -> str:
    """A parser's complaint in one line, with its place in the file."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark, problem = error.problem_mark, f"{error.context or ''} {error.problem or ''}".strip()
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return " ".join(str(error).split())


_READERS = {
    ".yaml": lambda text: yaml.load(text, _Loader),
    ".yml": lambda text: yaml.load(text, _Loader),
    ".toml": tomllib.loads,
    ".json": json.loads,
}


def _set(values: dict[str, Any], override: str) -> dict[str, Any]:
    path, equals, text = override.partition("=")
    steps: list[str | int] = [int(s) if s.isdigit() else s for s in re.split(r"[.\[\]]+", path.strip()) if s]
    if not equals or not steps:
        raise ConfigError(f"--set {override!r}: write it as a.b=value, for example --set population.models=8")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML: {_where(error)}") from None
    values = json.loads(json.dumps(values))
    here: Any = values
    try:
        for step in steps[:-1]:
            here = here.setdefault(step, {}) if isinstance(here, dict) else here[step]
        here[steps[-1]] = value
    except (IndexError, TypeError, AttributeError):
        raise ConfigError(f"--set {override!r}: the config has nothing at {path!r}") from None
    return values
