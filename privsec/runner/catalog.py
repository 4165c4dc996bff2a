"""Everything a config can name, as plain values: for the command line, the docs and the README."""

from __future__ import annotations

import inspect
from typing import Any

from privsec.attacks import ATTACKS
from privsec.core.spec import Spec
from privsec.data import DATASETS
from privsec.defenses import DEFENSES
from privsec.nets import NETS


def entries() -> dict[str, list[dict[str, Any]]]:
    """Kind -> rows of plain values, in the order of names."""
    return {
        "attacks": [
            {"name": n, "family": s.family, "needs": s.needs.title, "what it asks": _first_line(s), "paper": s.paper}
            for n, s in ATTACKS.specs.items()
        ],
        "defenses": [
            {"name": n, "stage": s.stage, "what it does": _first_line(s), "paper": s.paper}
            for n, s in DEFENSES.specs.items()
        ],
        "data sets": [{"name": n, "what it is": _first_line(s)} for n, s in DATASETS.specs.items()],
        "nets": [{"name": n, "what it is": _first_line(s)} for n, s in NETS.specs.items()],
    }


def _first_line(spec: type[Spec]) -> str:
    """The first sentence of the Spec's docstring."""
    text = " ".join((inspect.getdoc(spec) or "").split("\n\n")[0].split())
    return text
