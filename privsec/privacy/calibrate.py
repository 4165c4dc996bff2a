"""How much noise reaches an asked epsilon."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Callable

import platformdirs

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.privacy.accounting import GRID
from privsec.privacy.accounting import epsilon as epsilon_of

STEP = 1.001
"""Noise multipliers are powers of this: the answer is at most 0.1% more noise than needed."""
SMALLEST, LARGEST = 0.01, 1e5
"""The noise multipliers that are looked at."""
SEARCH_GRID = 1e-3
"""Coarse spacing of the privacy loss while searching; the answer is checked at the fine one."""


@functools.lru_cache(maxsize=256)
def noise_multiplier(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    """The least noise with which `steps` Poisson-sampled Gaussian steps spend at most `epsilon` at `delta`.

    Args:
        epsilon: the budget, > 0; `inf` asks for no noise.
        delta: in (0, 1), below one over the number of records.
        sampling_rate: probability with which a step sees a record, in (0, 1].
        steps: number of optimizer steps, >= 1.

    Returns:
        Noise standard deviation in units of the clip norm, at most 0.1% more than needed (and at least 0.01). The
        epsilon that `accounting.epsilon` reports for it is never above the asked one, and it does not grow with
        `epsilon`.

    Raises:
        ConfigError: an argument out of range, or a budget that no noise multiplier up to 1e5 keeps.

    References: Abadi et al. 2016, arXiv 1607.00133; the accountant's in `privacy/accounting.py`.
    """
    if not (epsilon > 0 and 0 < delta < 1 and 0 < sampling_rate <= 1 and steps >= 1):
        raise ConfigError(
            "noise can be calibrated to epsilon > 0 and 0 < delta < 1, for 0 < sampling_rate <= 1 and steps >= 1; got "
            f"epsilon={epsilon}, delta={delta}, sampling_rate={sampling_rate}, steps={steps}"
        )
    if math.isinf(epsilon):
        return 0.0
    asked = (epsilon, delta, sampling_rate, steps)
    return _remembered(asked, lambda: _calibrated(*asked))


def _calibrated(epsilon: float, delta: float, sampling_rate: float, steps: int) -> float:
    def spent(power: float, grid: float) -> float:
        return epsilon_of(DPEvent(sampling_rate, STEP**power, steps), delta, grid=grid)

    power = _search(lambda power: math.log(max(spent(power, SEARCH_GRID), 1e-300) / epsilon))
    while spent(power, GRID) > epsilon:
        power += 1
    while power > math.log(SMALLEST, STEP) and spent(power - 1, GRID) <= epsilon:
        power -= 1
    return STEP**power


def _remembered(asked: tuple[float, ...], compute: Callable[[], float]) -> float:
    """The answer kept in the user's cache, else computed and kept: a search takes seconds, and every run asks again."""
    name = hashlib.sha256(repr((asked, GRID, STEP, importlib.metadata.version("dp-accounting"))).encode()).hexdigest()
    path = platformdirs.user_cache_path("privsec") / "noise" / f"{name[:16]}.json"
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["asked"] == list(asked):
            return float(kept["noise_multiplier"])
    answer = compute()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not correctness
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps({"asked": asked, "noise_multiplier": answer}), encoding="utf-8")
        partial.replace(path)
    return answer


def _search(excess: Callable[[float], float]) -> int:
    """The least power whose excess over the budget is not positive, for an excess that falls as the power grows."""
    import scipy.optimize

    doubling = math.log(2.0, STEP)
    low = high = 0.0
    while excess(high) > 0:
        low, high = high, high + doubling
        if high > math.log(LARGEST, STEP):
            raise ConfigError(
                f"no noise multiplier up to {LARGEST:g} keeps to this epsilon: it is too small for the accountant to "
                "resolve. Ask for a larger epsilon or delta, fewer steps or smaller batches."
            )
    while low == high or excess(low) <= 0:
        low, high = low - doubling, low
        if low < math.log(SMALLEST, STEP):
            return math.ceil(math.log(SMALLEST, STEP))
    return math.ceil(scipy.optimize.brentq(excess, low, high, xtol=0.25))  # type: ignore[arg-type]
