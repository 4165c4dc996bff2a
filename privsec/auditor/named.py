"""What a command line can name: the folder of a saved model, or an object in a Python file or module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from privsec.core.errors import ConfigError, did_you_mean
from privsec.core.target import Target


def target_named(text: str) -> Target:
    """The Target that `text` names.

    Args:
        text: a folder that `privsec.targets.save` wrote, or `module:name` / `file.py:name` of a Target or of a function
            without arguments that makes one. The code is run: name only what you trust.

    Raises:
        ConfigError: there is no such thing, or it is no Target.
    """
    from privsec.targets import from_folder

    if ":" not in text:
        return from_folder(text)
    found = object_named(text)
    made = found if isinstance(found, Target) else found() if callable(found) else found
    if not isinstance(made, Target):
        raise ConfigError(
            f"{text} gives a {type(made).__name__}, not a Target. Wrap the model, for example: "
            "`def target(): return privsec.Target.from_sklearn(model)`."
        )
    return made


def function_named(text: str) -> Callable[..., Any]:
    """The function that `module:name` or `file.py:name` names; a ConfigError where it is none."""
    found = object_named(text)
    if not callable(found):
        raise ConfigError(f"{text} is a {type(found).__name__}, not a function")
    return found


def object_named(text: str) -> Any:
    """The object that `module:name` or `file.py:name` names; modules beside the caller are found too.

    Raises:
        ConfigError: it is written otherwise, or does not exist. What the module itself raises is not caught.
    """
    where, _, name = text.rpartition(":")
    if not where or not name.isidentifier():
        raise ConfigError(f"{text!r}: write module:name or file.py:name, for example my_model.py:target")
    module = _file(Path(where)) if where.endswith(".py") else _module(where)
    if not hasattr(module, name):
        public = [known for known in vars(module) if not known.startswith("_")]
        raise ConfigError(f"{where} has no {name!r}.{did_you_mean(name, public)}")
    return getattr(module, name)


def _file(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"privsec_named_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    _from_here(str(path.resolve().parent), lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    return module


def _module(name: str) -> Any:
    try:
        return _from_here(str(Path.cwd()), lambda: importlib.import_module(name))
    except ModuleNotFoundError as error:
        if error.name and name.split(".")[0] == error.name.split(".")[0]:
            raise ConfigError(f"there is no module {name!r} here or installed; for a file write {name}.py:") from None
        raise


def _from_here(folder: str, load: Callable[[], Any]) -> Any:
    """Runs `load` with modules of `folder` in reach, as `python -m` and `python file.py` do."""
    sys.path.insert(0, folder)
    try:
        return load()
    finally:
        sys.path.remove(folder)
