"""From a Recipe to trained parameters, one model or many."""
