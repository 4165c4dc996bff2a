"""Runs every benchmark with its default settings, one after the other, and gathers their last lines at the end.

python benchmarks/every.py [name ...]
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Prints what they print, then one JSON line for each, or why there is none."""
    names = sys.argv[1:] or sorted(path.stem for path in HERE.glob("*.py") if "\nCLAIM = " in path.read_text())
    ended, failed = {}, False
    for name in names:
        print(f"\n== {name}", flush=True)
        start, last = time.perf_counter(), ""
        command = [sys.executable, "-u", str(HERE / f"{name}.py")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                last = line.strip() or last
        failed |= process.returncode != 0
        said = last if not process.returncode else f"failed with exit code {process.returncode}"
        ended[name] = f"{name} ({time.perf_counter() - start:.0f} s): {said}"
    print("", *ended.values(), sep="\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
