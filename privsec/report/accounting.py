"""An account of privacy in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from privsec.privacy.account import Row


def lines(rows: Sequence[Row], warnings: Sequence[str] = ()) -> Group:
    """Each row's name, value and meaning, then the warnings."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for style in ("", "bold", "dim"):
        table.add_column(style=style)
    for row in rows:
        table.add_row(*row)
    return Group(table, *(Text(f"note: {warning}", style="yellow") for warning in warnings))
