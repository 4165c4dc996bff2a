"""Every attack in the catalog, by its defaults or quicker, and its notable variants, passes the exam privsec ships."""

from itertools import chain

import pytest

from privsec.attacks import ATTACKS
from privsec.testing import ATTACK_CHECKS

QUICK = {
    "adaptive_blend": {"ratio": 0.5, "asked_ratio": 0.6, "rate": 0.15, "pieces": 2},
    "adversarial_program": {"epochs": 15},
    "apgd": {"steps": 5},
    "auto_attack": {"steps": 3, "queries": 5, "classes": 1},
    "bar": {"epochs": 15},
    "blended": {"ratio": 0.4, "rate": 0.1},
    "boundary_attack": {"queries": 100},
    "brep_mi": {"targets": 12, "reach": 1.0, "radius": 0.1},
    "carlini_wagner": {"steps": 20, "searches": 2},
    "deepfool": {"steps": 5},
    "fab": {"steps": 5, "classes": 2},
    "feature_collision": {"targets": 4, "rate": 0.08, "steps": 40, "opacity": 0.5},
    "fmn": {"steps": 20},
    "generator_inversion": {"starts": 1},
    "genetic_inversion": {"prior": 5.0},
    "gradient_inversion": {"steps": 300},
    "hop_skip_jump": {"queries": 100, "directions": 10},
    "kkt_reconstruction": {"per_class": 10, "steps": 200, "learning_rate": 0.03},
    "knockoff": {"budgets": [200], "training": {"epochs": 20}},
    "label_knockoff": {"budgets": [200], "training": {"epochs": 20}},
    "label_bar": {"epochs": 15},
    "label_flip": {"rate": 0.4},
    "mi_fgsm": {"steps": 3},
    "pgd": {"steps": 3},
    "random_noise": {"trials": 20},
    "sig": {"frequency": 2.0, "rate": 0.15, "amplitude": 0.4, "asked_amplitude": 0.6},
    "square": {"queries": 40},
    "transfer": {"steps": 3, "training": {"epochs": 10}},
    "truth_serum": {"victims": 30},
    "wanet": {"strength": 8.0, "rate": 0.2, "cover": 0.5},
    "witches_brew": {
        "targets": 4,
        "rate": 0.08,
        "radius": 0.3,
        "steps": 40,
        "restarts": 1,
        "surrogates": 1,
    },
}
"""Settings at which an attack is examined in place of its defaults, which would take long on models this small, or of
the control stand at the null."""

VARIANTS = {
    "attack_p": [{"per_class": True}],
    "bavaria": [{"online": False}, {"likelihood": "gaussian"}, {"queries": 3}],
    "boundary": [{"records": 60, "queries": 500}],
    "confidence": [{"per_class": False}],
    "entropy": [{"per_class": False}],
    "gradient_norm": [{"by_layer": True}, {"calibrated": False}],
    "label_flip": [{"rate": 0.2, "source": 1, "goal": 2}],
    "lira": [
        {"online": False},
        {"variance": "per_example"},
        {"variance": "shrunk"},
        {"online": False, "variance": "shrunk"},
        {"queries": 3, "online": False},
    ],
    "mi_face": [
        {"objective": "confidence", "optimizer": "sign", "steps": 100, "targets": 6},
        {"begin": "record", "optimizer": "momentum", "l2": 0.01, "tv": 0.0, "steps": 100, "targets": 6},
    ],
    "modified_entropy": [{"per_class": False}],
    "rmia": [{"online": False}, {"online": False, "a": 0.3}, {"gamma": 1.0, "temperature": 1.0}],
    "score_inversion": [{"directions": "white", "begin": "box", "steps": 60, "targets": 6}],
    "shokri": [{"folds": 1}],
    "trajectory": [{"calibrated": False}],
}
"""Settings beside those that take another path through an attack; one without a line is examined as it is."""

INSTANCES = [
    ATTACKS.parse({"name": name, **settings})
    for name, settings in chain(
        ((name, QUICK.get(name, {})) for name in ATTACKS.specs),
        ((name, each) for name, many in VARIANTS.items() for each in many),
    )
]


def titled(attack):
    settings = attack.model_dump(exclude_defaults=True)
    return ",".join([attack.name, *(f"{key}={value}" for key, value in settings.items())])


# The checks of one attack run in a row, so that they share its evidence.
CASES = [pytest.param(a, check, id=f"{titled(a)}-{check}") for a in INSTANCES for check in ATTACK_CHECKS]


@pytest.mark.parametrize(("attack", "check"), CASES)
def test_attack(attack, check):
    ATTACK_CHECKS[check](attack)


def test_variants_are_of_attacks_that_exist():
    assert set(VARIANTS) | set(QUICK) <= set(ATTACKS.specs)
