"""From a config to a table: plan, execute, store."""
