"""One process, with the devices in its sight."""

from __future__ import annotations

from typing import Literal

from privsec.runner.executors.base import Executor


class Local(Executor):
    """Everything is computed by this process, with all of its devices (`training.placement`)."""

    name: Literal["local"] = "local"
