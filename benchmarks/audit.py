"""How long an audit of many scores takes, page included.

python benchmarks/audit.py [--records 50000] [--classes 10]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from privsec.auditor.audit import audit
from privsec.auditor.result import Audit

CLAIM = "an audit of 50,000 + 50,000 scores takes under 10 seconds including the page"


def main() -> None:
    """Prints seconds for scores alone, scores with records, and logits, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000, help="on each side")
    parser.add_argument("--classes", type=int, default=10)
    given = parser.parse_args()
    rng, n = np.random.default_rng(0), given.records
    scores = rng.normal(0.5, 1, n), rng.normal(0, 1, n)
    labels = rng.integers(0, given.classes, n), rng.integers(0, given.classes, n)
    records = rng.normal(size=(n, 64)).astype(np.float32), rng.normal(size=(n, 64)).astype(np.float32)
    logits = tuple(rng.normal(size=(n, given.classes)) for _ in range(2))
    logits[0][np.arange(n), labels[0]] += 1
    runs: dict[str, Callable[[], Audit]] = {
        "scores": lambda: audit(*scores),
        "scores, labels and records": lambda: audit(*scores, labels=labels, features=records),
        "logits": lambda: audit(*logits, what="logits", labels=labels),
    }
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in runs.items():
            start = time.perf_counter()
            found = run()
            middle = time.perf_counter()
            found.save(folder)
            found.report(Path(folder) / "audit.html")
            seconds[name] = round(time.perf_counter() - start, 2)
            print(f"{name:28} {middle - start:6.2f} s, page {time.perf_counter() - middle:5.2f} s")
    print(json.dumps({"claim": CLAIM, "records": 2 * n, "seconds": seconds}))


if __name__ == "__main__":
    main()
