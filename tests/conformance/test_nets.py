"""Every net in the catalog passes the exam that privsec ships."""

import pytest

from privsec.nets import NETS
from privsec.testing import NET_CHECKS

SMALL = {
    "cnn": [{"channels": [4, 6], "dense": [8]}, {"channels": [3], "dense": [], "activation": "softplus"}],
    "mlp": [{"hidden": [8]}, {"hidden": []}, {"hidden": [5, 4], "activation": "gelu"}],
    "wide_resnet": [{"depth": 10, "groups": 4}],
}
"""Sizes at which a net is examined, where not by its defaults."""

INSTANCES = [NETS.parse({"name": name, **settings}) for name in NETS.specs for settings in SMALL.get(name, [{}])]


def titled(net):
    return ",".join([net.name, *(f"{key}={value}" for key, value in net.model_dump(exclude_defaults=True).items())])


@pytest.mark.parametrize("check", NET_CHECKS)
@pytest.mark.parametrize("net", INSTANCES, ids=titled)
def test_net(net, check):
    NET_CHECKS[check](net)
