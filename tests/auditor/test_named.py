from __future__ import annotations

import pytest

from privsec.auditor.named import function_named, object_named, target_named
from privsec.core.errors import ConfigError
from privsec.core.target import Target

CODE = """
from dataclasses import dataclass
import beside
import privsec

@dataclass
class Settings:
    classes: int = beside.CLASSES

def target():
    return privsec.Target.from_callable(lambda x: x, num_classes=Settings().classes, shape=(2,), answers="logits")

ready = target()
number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "made.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("CLASSES = 2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["made.py:target", "made.py:ready", "made:target"])
def test_a_target_is_found_in_a_file_or_a_module_with_those_beside_it(folder, name):
    target = target_named(name)
    assert isinstance(target, Target) and target.model.num_classes == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("made.py:targt", "Did you mean 'target'"),
        ("gone.py:target", "no such file"),
        ("gone_module:target", "no module 'gone_module'"),
        ("made.py:number", "a int, not a Target"),
        ("nowhere", "no such folder"),
        (":target", "write module:name"),
    ],
)
def test_what_is_wrong_is_said(folder, name, says):
    with pytest.raises(ConfigError, match=says):
        target_named(name)


def test_a_function_is_a_function(folder):
    assert function_named("made.py:target")().model.num_classes == 2
    with pytest.raises(ConfigError, match="not a function"):
        function_named("made.py:number")
    assert object_named("made.py:number") == 3
