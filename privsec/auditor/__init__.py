"""An audit of what is given: one model, its scores alone, or one training with canaries in it."""
