"""Pure jnp mathematics that attacks and defenses share."""
