"""How time and memory grow with models, records and classes, over a range of 16 times: the fitted exponents.

python benchmarks/growth.py [--rounds 3]

Each point is a fresh process: networks answer, and LiRA and RMIA score 8 of them by all. Processor time is what is
fitted, less what a process that does the smallest work a second time does not spend again (start and compilation).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from rounds import machine, versions

CLAIM = "time grows with models, records and classes by an exponent of at most 1.05"
TARGETS = 8
BASE = {"models": 16, "records": 16_000, "classes": 16}
"""The smallest of what is varied, and what the others are meanwhile."""
TIMES = (1, 4, 16)


def one(models: int, records: int, classes: int) -> dict[str, float]:
    """Seconds of processor time once everything is compiled, and the peak of memory, in this process."""
    import jax
    from scoring import bank, peak_mb

    from privsec.attacks.membership.lira import LiRA
    from privsec.attacks.membership.rmia import RMIA
    from privsec.core.attack import Knowledge

    stack, known = bank(models, records, records // 8, classes)
    found = {"before": peak_mb()}
    for again in range(2):
        start = time.process_time()
        target = stack.record(known.candidates).record(known.population)
        attacked, usable = target[:TARGETS], known.usable[:TARGETS]
        given = Knowledge(classes, known.candidates, known.population, target, known.included, usable)
        for attack in (LiRA(variance="pooled"), RMIA(temperature=1.0)):
            attack.run(attacked, given, jax.random.key(0))
        found |= {"seconds": time.process_time() - start}
        if not again:  # the second time holds two recordings for a moment
            found |= {"peak": peak_mb()}
    return found


def point(sizes: dict[str, int]) -> dict[str, Any]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--point", json.dumps(sizes)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def exponent(sizes: list[int], costs: list[float]) -> float:
    """The slope of log cost over log size, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def main() -> None:
    """Prints a line for each point, then one JSON line: the largest exponent of time, and the others as its range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        print(json.dumps(one(**json.loads(given.point))))
        return
    print(f"{machine()}\n{versions()}", flush=True)
    points = [(of, BASE[of] * times) for of in BASE for times in TIMES]
    runs = [[point({**BASE, of: size}) for of, size in points] for _ in range(given.rounds)]
    slopes = {}
    for of in BASE:
        mine = [i for i, (what, _) in enumerate(points) if what == of]
        sizes = [points[i][1] for i in mine]
        seconds = [statistics.median(run[i]["seconds"] for run in runs) for i in mine]
        for i, spent in zip(mine, seconds, strict=True):
            peak = statistics.median(run[i]["peak"] for run in runs)
            low, high = (pick(run[i]["seconds"] for run in runs) for pick in (min, max))
            print(f"{of:8} {points[i][1]:8}  {spent:7.2f} s ({low:.2f} to {high:.2f})  peak {peak:6.0f} MB")
        slopes[of] = exponent(sizes, seconds)
        print(f"{of:8} exponent of time {slopes[of]:.2f}")
    low, high = min(slopes.values()), max(slopes.values())
    print(
        json.dumps(
            {"claim": CLAIM, "against": "size", "ratio": round(high, 3), "low": round(low, 3), "high": round(high, 3)}
        )
    )


if __name__ == "__main__":
    main()
