"""What a stranger meets first: imports that cost little, names that explain themselves."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import privsec
from privsec.attacks import ATTACKS
from privsec.core.spec import Spec
from privsec.data import DATASETS
from privsec.defenses import DEFENSES
from privsec.nets import NETS
from privsec.runner.config import Experiment, Population, schema
from privsec.testing.exam import is_documented
from privsec.training.standard import Training

SPECS = [Experiment, Population, Training, *(s for c in (ATTACKS, DEFENSES, DATASETS, NETS) for s in c.specs.values())]
MODULES = ["privsec", *(info.name for info in pkgutil.walk_packages(privsec.__path__, "privsec."))]


def imported(statement: str) -> tuple[set[str], float]:
    """The top-level modules a fresh interpreter has after `statement`, and the CPU seconds it took."""
    code = f"import time, sys; t = time.process_time(); {statement}; print(time.process_time() - t, *sys.modules)"
    seconds, *modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    return {name.split(".")[0] for name in modules}, float(seconds)


def test_importing_privsec_is_cheap():
    modules, seconds = imported("import privsec; privsec.__all__")
    assert not modules & {"torch", "sklearn", "matplotlib", "jax", "flax", "pandas", "scipy", "dp_accounting"}
    assert seconds < 1


def test_attacking_and_running_import_nothing_heavy():
    modules, _ = imported("import privsec.attacks, privsec.runner.execute; privsec.attacks.ATTACKS.specs")
    assert not modules & {"torch", "sklearn", "matplotlib", "dp_accounting", "PIL"}


@pytest.mark.parametrize("name", privsec.__all__)
def test_a_public_name_exists_and_is_documented(name):
    public = getattr(privsec, name)
    assert name == "__version__" or inspect.getdoc(public)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'attack'"):
        privsec.attack


@pytest.mark.parametrize("name", MODULES)
def test_a_module_and_all_it_defines_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for public, member in vars(module).items():
        if public.startswith("_") or getattr(member, "__module__", None) != name:
            continue
        if inspect.isclass(member) or inspect.isfunction(member):
            assert member.__doc__, f"{name}.{public} has no docstring"


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_a_spec_and_its_fields_are_documented(spec: type[Spec]):
    is_documented(spec.model_construct())


def test_every_spec_is_in_the_schema():
    titles = set(schema()["$defs"])
    assert {spec.__name__ for spec in SPECS} - {"Experiment"} <= titles


def test_catalog_keys_are_the_names_configs_use():
    for catalog in (ATTACKS, DEFENSES, DATASETS, NETS):
        assert all(spec.model_fields["name"].default == name for name, spec in catalog.specs.items())
