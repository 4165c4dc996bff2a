"""One self-contained HTML page from a run: verdict, picture, tables, findings, methods; and two runs side by side."""
