"""From evidence and truth to Estimates, in float64 on the host."""
