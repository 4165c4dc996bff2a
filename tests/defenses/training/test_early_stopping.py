from dataclasses import replace

import pytest

from privsec.core.errors import ConfigError
from privsec.defenses.training.early_stopping import EarlyStopping
from tests.defenses.training.recipes import RECIPE


def test_patience_enters_the_recipe_and_nothing_else_changes():
    assert EarlyStopping(patience=4).on_recipe(RECIPE) == replace(RECIPE, patience=4)


def test_the_least_patience_holds():
    impatient = EarlyStopping(patience=2).on_recipe(RECIPE)
    assert EarlyStopping(patience=5).on_recipe(impatient) is impatient
    assert EarlyStopping(patience=1).on_recipe(impatient).patience == 1


def test_no_patience_at_all_is_refused():
    with pytest.raises(ConfigError, match="patience"):
        EarlyStopping(patience=0)
