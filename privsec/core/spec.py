"""Specs: frozen, hashable, validating descriptions. An attack *is* its config.

`LiRA(variance="pooled")` equals `{"name": "lira", "variance": "pooled"}`; equal Specs share one compilation. A Catalog
collects the Specs of one kind from a package's modules and from entry points, so adding one is adding one file.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import operator
import pkgutil
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import dataclass_transform

from privsec.core.errors import ConfigError, did_you_mean


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Field,))
class _FrozenModel(type(BaseModel)):
    """Tells type checkers that every Spec is frozen, hence hashable."""


class Spec(BaseModel, metaclass=_FrozenModel):
    """A frozen, hashable pydantic model whose unknown keys are errors that name the nearest allowed key.

    Subclasses that belong to a Catalog carry `name: Literal["..."] = "..."`, the discriminator.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="strings",
    )

    unhashed: ClassVar[frozenset[str]] = frozenset()
    """Fields that name the Spec without changing what it computes; they stay out of `digest`."""

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    allowed = sorted(cls.model_fields)
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key {key}; allowed: {allowed}.{hint}",
                        {"key": str(key), "allowed": ", ".join(allowed), "hint": did_you_mean(key, allowed)},
                    )
        return data

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except pydantic.ValidationError as error:
            raise SpecError(type(self).__name__, explain(error, data)) from None

    # Pydantic then validates nested Specs by itself, and one error names the whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values of every field, defaults included."""
        return self.model_dump(mode="json")

    @functools.cached_property
    def digest(self) -> str:
        """Sixteen hex digits that identify what the Spec computes: SHA-256 over its sorted JSON."""
        text = json.dumps(_without(self, self.to_json()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash((type(self).__qualname__, self.digest))


class SpecError(ConfigError, ValueError):
    """A Spec was built from wrong values; `problems` are `(path, message)` pairs."""

    def __init__(self, title: str, problems: list[tuple[str, str]]) -> None:
        self.title, self.problems = title, problems
        super().__init__("\n".join(": ".join(filter(None, (title, *problem))) for problem in problems))


def _without(spec: BaseModel, dumped: Any) -> Any:
    """`dumped` less the unhashed fields of `spec` and of every Spec inside it."""

    def strip(value: Any, plain: Any) -> Any:
        if isinstance(value, Spec):
            return {k: strip(getattr(value, k), v) for k, v in plain.items() if k not in value.unhashed}
        if isinstance(value, (list, tuple)):
            return [strip(v, p) for v, p in zip(value, plain, strict=True)]
        if isinstance(value, dict):
            return {k: strip(value[k], p) for k, p in plain.items()}
        return plain + 0.0 if isinstance(plain, float) else plain  # minus zero equals zero

    return strip(spec, dumped)


def explain(error: pydantic.ValidationError, given: Any) -> list[tuple[str, str]]:
    """Turns pydantic's errors into `(path, message)` pairs: `("attacks[1].gama", "unknown key; allowed: ...")`."""
    problems = []
    for item in error.errors():
        path, value = _locate(item["loc"], given)
        kind, context = item["type"], item.get("ctx", {})
        if kind == "too_short" and isinstance(value, (list, tuple)) and len(value) >= context["min_length"]:
            continue  # its items failed, which is told with each of them
        if kind == "unknown_key":
            path = f"{path}.{context['key']}".lstrip(".")
            text = f"unknown key {context['key']!r}; allowed: {context['allowed']}.{context['hint']}"
        elif kind == "union_tag_invalid":
            allowed = sorted(name.strip(" '") for name in context["expected_tags"].split(","))
            path = f"{path}.name".lstrip(".")
            hint = did_you_mean(context["tag"], allowed)
            text = f"no such name {context['tag']!r}; allowed: {', '.join(allowed)}.{hint}"
        elif kind == "union_tag_not_found":
            text = f"says no `name`; got {_show(value)}. Write for example {{name: ...}}"
        elif kind == "missing":
            text = "is required and missing"
        else:
            text = f"{item['msg'].removeprefix('Value error, ')}; got {_show(item.get('input', value))}"
        problems.append((path, text))
    return problems


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _locate(location: tuple[int | str, ...], given: Any) -> tuple[str, Any]:
    """The path as a reader of the file would write it, without the tags pydantic puts in for unions."""
    path, here = "", given
    for position, step in enumerate(location):
        if isinstance(here, (list, tuple)) and isinstance(step, int) and step < len(here):
            path, here = f"{path}[{step}]", here[step]
        elif isinstance(here, dict) and step in here:
            path, here = f"{path}.{step}", here[step]
        elif isinstance(here, dict) and step == here.get("name"):
            continue
        elif position == len(location) - 1 and isinstance(step, str) and isinstance(here, dict):
            path = f"{path}.{step}"
    return path.lstrip("."), here


S = TypeVar("S", bound=Spec)


class Catalog(Generic[S]):
    """Every Spec of one kind: those in the modules below `package`, and those that entry points bring.

    Args:
        kind: what one of them is called in messages, e.g. `"attack"`.
        base: the class they derive from.
        package: dotted name of the package whose modules define them.
        group: entry-point group for Specs from other distributions; each entry point names one Spec class.
    """

    def __init__(self, kind: str, base: type[S], package: str, group: str | None = None) -> None:
        self.kind, self.base, self.package, self.group = kind, base, package, group

    @functools.cached_property
    def specs(self) -> dict[str, type[S]]:
        """The Spec classes by name, sorted."""
        found: dict[str, type[S]] = {}
        root = importlib.import_module(self.package)
        for module_info in pkgutil.walk_packages(root.__path__, f"{self.package}."):
            module = importlib.import_module(module_info.name)
            for _, member in inspect.getmembers(module, inspect.isclass):
                if member.__module__ == module.__name__:
                    self._add(found, member)
        for entry in importlib.metadata.entry_points(group=self.group) if self.group else ():
            member = entry.load()
            if not (inspect.isclass(member) and issubclass(member, self.base) and name_of(member)):
                wanted = f"a named {self.base.__name__}"
                raise ConfigError(f"entry point {entry.name!r} of {self.group} is not {wanted}: {member!r}")
            self._add(found, member)
        return dict(sorted(found.items()))

    def _add(self, found: dict[str, type[S]], member: type) -> None:
        if issubclass(member, self.base) and (name := name_of(member)) and not inspect.isabstract(member):
            if found.setdefault(name, member) is not member:
                places = f"{found[name].__module__} and {member.__module__}"
                raise ConfigError(f"two {self.kind}s are called {name!r}: {places}. Rename one.")

    @functools.cached_property
    def union(self) -> Any:
        """The discriminated union of the Specs, for use as a pydantic field's type."""
        members = list(self.specs.values())
        joined = functools.reduce(operator.or_, members)
        return Annotated[joined, Field(discriminator="name")] if len(members) > 1 else joined

    def class_named(self, name: str) -> type[S]:
        """The Spec class of that name, as a package's `__getattr__` gives it: `from privsec.attacks import LiRA`.

        Raises:
            AttributeError: there is none.
        """
        found = [spec for spec in self.specs.values() if spec.__name__ == name] if name[0].isupper() else []
        if not found:
            raise AttributeError(f"module {self.package!r} has no attribute {name!r}")
        return found[0]

    def parse(self, given: dict[str, Any] | S) -> S:
        """The Spec that `{"name": ..., ...}` describes; a Spec is returned as it is."""
        if isinstance(given, self.base):
            return given
        try:
            return pydantic.TypeAdapter(self.union).validate_python(given)
        except pydantic.ValidationError as error:
            raise SpecError(self.kind, explain(error, given)) from None


def name_of(spec: type[Spec]) -> str | None:
    """The name under which a Spec class is known in configs, None for a base class."""
    field = spec.model_fields.get("name")
    return field.default if field is not None and isinstance(field.default, str) else None
