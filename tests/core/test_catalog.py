from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from privsec.attacks import ATTACKS
from privsec.core.errors import ConfigError
from privsec.core.spec import Catalog, Spec, SpecError
from privsec.data import DATASETS
from privsec.defenses import DEFENSES
from privsec.nets import NETS

MODULE = """
from typing import Literal
from privsec.core.spec import Spec

class Thing(Spec):
    name: Literal["{name}"] = "{name}"
    size: int = 1
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes an importable package of one-Spec modules, and distributions with entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(modules: dict[str, str], entry_points: str = "") -> str:
        name = "things_of_" + re.sub(r"\W", "_", tmp_path.name)
        folder = tmp_path / name
        for path, spec_name in modules.items():
            file = folder / f"{path}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            (file.parent / "__init__.py").touch()
            file.write_text(MODULE.format(name=spec_name))
        (tmp_path / "foreign.py").write_text(MODULE.format(name="foreign"))
        if entry_points:
            info = tmp_path / "foreign-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[privsec.test_things]\n{entry_points}\n")
        importlib.invalidate_caches()
        return name

    yield make
    for module in [m for m in sys.modules if m == "foreign" or m.startswith("things_of_")]:
        del sys.modules[module]


@pytest.mark.parametrize("catalog", [ATTACKS, DEFENSES, NETS, DATASETS], ids=lambda catalog: catalog.kind)
def test_holds_every_named_spec_of_its_folder(catalog):
    root = importlib.import_module(catalog.package)
    sources = [path.read_text() for path in Path(root.__path__[0]).rglob("*.py")]
    written = sorted(name for text in sources for name in re.findall(r'name: Literal\["(\w+)"\]', text))
    assert list(catalog.specs) == written
    assert catalog.specs


@pytest.mark.parametrize("catalog", [ATTACKS, DEFENSES, NETS, DATASETS], ids=lambda catalog: catalog.kind)
def test_every_spec_is_what_its_json_says(catalog):
    for name, kind in catalog.specs.items():
        required = {field for field, info in kind.model_fields.items() if info.is_required()}
        if required or name == "dp_sgd":
            continue
        spec = catalog.parse({"name": name})
        assert type(spec) is kind and spec == kind() and catalog.parse(spec.to_json()) == spec
        assert catalog.parse(spec) is spec


def test_subfolders_and_entry_points(package):
    name = package({"one": "one", "deep/two": "two"}, "foreign = foreign:Thing")
    catalog = Catalog("thing", Spec, name, "privsec.test_things")
    assert list(catalog.specs) == ["foreign", "one", "two"]
    assert catalog.parse({"name": "foreign", "size": 3}).size == 3


def test_the_same_class_by_folder_and_by_entry_point_is_one(package):
    name = package({"one": "one"}, "again = things_of_again:Thing")
    info = next(Path(sys.path[0]).glob("*.dist-info/entry_points.txt"))
    info.write_text(f"[privsec.test_things]\nagain = {name}.one:Thing\n")
    assert list(Catalog("thing", Spec, name, "privsec.test_things").specs) == ["one"]


def test_two_of_one_name_are_an_error(package):
    name = package({"one": "same", "two": "same"})
    with pytest.raises(ConfigError, match=r"two things are called 'same': \S+one and \S+two"):
        Catalog("thing", Spec, name).specs


def test_an_entry_point_must_be_a_named_spec(package):
    name = package({"one": "one"}, "wrong = foreign:Literal")
    with pytest.raises(ConfigError, match=r"entry point .wrong. of privsec\.test_things is not a named Spec"):
        Catalog("thing", Spec, name, "privsec.test_things").specs


@pytest.mark.parametrize("names", [("one",), ("one", "two")])
def test_parse_errors(package, names):
    catalog = Catalog("thing", Spec, package({name: name for name in names}))
    with pytest.raises(SpecError, match="thing: name"):
        catalog.parse({"name": "onne"})
    with pytest.raises(SpecError, match=r"thing: sise: unknown key 'sise'.*Did you mean 'size'"):
        catalog.parse({"name": "one", "sise": 2})
    with pytest.raises(SpecError, match="thing"):
        catalog.parse(["one"])
