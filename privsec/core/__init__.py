"""The nouns: Spec, Access, Target, Attack, Defense, Evidence, Recipe, Dataset, Estimate."""
