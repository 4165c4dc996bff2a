"""Accounting and bounds, in float64 on the host."""
