"""What data must be like: written once, inferred from clean data, enforced on new data."""
