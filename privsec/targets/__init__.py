"""Models that were made elsewhere, as Targets; importing this package gives Target its `from_...` constructors.

Each library is imported when its constructor is called, and only then.
"""

from collections.abc import Callable

from privsec.core.target import Target
from privsec.targets.answers import TargetError
from privsec.targets.endpoints import from_url
from privsec.targets.estimators import encode, from_sklearn
from privsec.targets.flax_modules import from_flax
from privsec.targets.host import from_callable, stack
from privsec.targets.saved import from_folder, save
from privsec.targets.torch_modules import OpacusClaim, from_torch, opacus_claim


def _give_to_target(*constructors: Callable[..., Target]) -> None:
    for constructor in constructors:
        setattr(Target, constructor.__name__, staticmethod(constructor))


_give_to_target(from_callable, from_flax, from_folder, from_sklearn, from_torch, from_url)

__all__ = [
    "OpacusClaim",
    "Target",
    "TargetError",
    "encode",
    "from_callable",
    "from_flax",
    "from_folder",
    "from_sklearn",
    "from_torch",
    "from_url",
    "opacus_claim",
    "save",
    "stack",
]
