"""privsec: what a model leaks, what each defense buys, and what it costs."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Access": "privsec.core.access",
    "Estimate": "privsec.core.estimate",
    "Examples": "privsec.core.data",
    "Experiment": "privsec.runner.config",
    "Knowledge": "privsec.core.attack",
    "Results": "privsec.runner.results",
    "Target": "privsec.targets",
    "account": "privsec.privacy.account",
    "attacks": "privsec.attacks",
    "audit": "privsec.auditor.audit",
    "audit_training": "privsec.auditor.training",
    "defenses": "privsec.defenses",
    "load": "privsec.runner.config",
    "measures": "privsec.measures",
    "plan": "privsec.runner.plan",
    "run": "privsec.runner.execute",
}

__all__ = sorted([*_HOMES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Imports a public name from its home when it is first used, so that `import privsec` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'privsec' has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name])
    return module if name in ("attacks", "defenses", "measures") else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
