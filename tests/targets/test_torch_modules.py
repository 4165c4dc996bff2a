from __future__ import annotations

import warnings

import numpy as np
import pytest

from privsec.core.access import Access
from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.core.signals import SIGNALS
from privsec.targets import TargetError, from_torch, opacus_claim
from tests.oracles import training as oracle

torch = pytest.importorskip("torch")


def net(seed: int = 0, outputs: int = 3):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(8, outputs),
    ).eval()


def logits_of(module, x):
    with torch.no_grad():
        return module(torch.tensor(x)).numpy()


def test_signals_are_those_of_its_logits(examples):
    target = from_torch(net(), shape=(5,), batch_size=4)
    assert target.model.num_classes == 3 and target.grants is Access.GRADIENTS
    expected = oracle.signals(logits_of(net(), examples.x), examples.y)
    for name in SIGNALS:
        np.testing.assert_allclose(target.observe(examples, name)[0], expected[name], atol=1e-5, err_msg=name)
    assert target.spent == 23 * len(SIGNALS)


def test_a_module_in_training_mode_is_asked_in_evaluation_mode_and_put_back(examples):
    module = net().train()
    module[3].eval()  # one part was frozen on purpose
    with pytest.warns(UserWarning, match="in training mode"):
        target = from_torch(module, shape=(5,))
    before = module[1].running_mean.clone()
    np.testing.assert_allclose(target.logits(examples.x), logits_of(net(), examples.x), atol=1e-6)
    assert [part.training for part in module] == [True, True, True, False, True]
    assert torch.equal(module[1].running_mean, before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target.logits(examples.x)


def test_a_list_is_a_stack_asked_from_several_threads(examples):
    target = from_torch([net(seed) for seed in range(4)], shape=(5,))
    expected = np.stack([logits_of(net(seed), examples.x) for seed in range(4)])
    np.testing.assert_allclose(target.logits(examples.x), expected, atol=1e-6)
    rows = np.arange(23)
    one_hot = np.eye(3, dtype=bool)[examples.y]
    others = np.where(one_hot, -np.inf, expected).max(-1)
    gap = expected[:, rows, examples.y] - others
    np.testing.assert_allclose(target.observe(examples, "score_gap"), gap, atol=1e-5)


def test_of_two_classes_one_logit_or_sigmoid_is_enough(examples):
    module = net(outputs=1)
    z = logits_of(module, examples.x)[:, 0]
    target = from_torch(module, shape=(5,))
    assert target.model.num_classes == 2
    np.testing.assert_allclose(target.logits(examples.x)[:, 1], z, atol=1e-6)
    sigmoid = from_torch(torch.nn.Sequential(module, torch.nn.Sigmoid()).eval(), shape=(5,), answers="probabilities")
    np.testing.assert_allclose(sigmoid.scores(examples.x)[:, 1], 1 / (1 + np.exp(-z)), atol=1e-6)


class Answer:
    def __init__(self, logits):
        self.logits = logits


class Wrapped(torch.nn.Module):
    def __init__(self, inner, wrap):
        super().__init__()
        self.inner, self.wrap = inner, wrap

    def forward(self, x):
        return self.wrap(self.inner(x))


def test_logits_are_found_in_an_answer_that_holds_them(examples):
    target = from_torch(Wrapped(net(), Answer).eval(), shape=(5,))
    np.testing.assert_allclose(target.logits(examples.x), logits_of(net(), examples.x), atol=1e-6)
    with pytest.raises(TargetError, match="returns a tuple, not a tensor"):
        from_torch(Wrapped(net(), lambda z: (z, z)).eval(), shape=(5,))


@pytest.mark.parametrize("kind", ["float64", "bfloat16"])
def test_modules_of_other_precision(examples, kind):
    target = from_torch(net().to(getattr(torch, kind)), shape=(5,))
    expected = logits_of(net(), examples.x)
    np.testing.assert_allclose(target.logits(examples.x), expected, atol=1e-6 if kind == "float64" else 0.05)


def test_what_cannot_be_asked_is_told():
    with pytest.raises(TargetError, match=r"dict is no torch\.nn\.Module"):
        from_torch({}, shape=(5,))
    with pytest.raises(TargetError, match=r"cannot take records of shape \[4\]"):
        from_torch(net(), shape=(4,))
    with pytest.raises(ConfigError, match="pass num_classes"):
        from_torch(net(), shape=(5,), answers="labels")
    probabilities = torch.nn.Sequential(net(), torch.nn.Softmax(-1)).eval()
    with pytest.raises(TargetError, match="pass answers='probabilities'"):
        from_torch(probabilities, shape=(5,)).labels(np.zeros((2, 5), np.float32))


# Opacus


@pytest.fixture(scope="module")
def private():
    """A module trained by DP-SGD for two epochs of five steps, and the engine that did it."""
    opacus = pytest.importorskip("opacus")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    records = torch.utils.data.TensorDataset(torch.randn(50, 5), torch.randint(0, 3, (50,)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = opacus.PrivacyEngine(accountant="rdp")
        made, optimizer, loader = engine.make_private(
            module=module,
            optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
            data_loader=torch.utils.data.DataLoader(records, batch_size=10),
            noise_multiplier=1.5,
            max_grad_norm=1.0,
        )
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(made(x), y).backward()
                optimizer.step()
    return made, engine


def test_a_module_trained_with_opacus_is_a_target(private, examples):
    made, _ = private
    target = from_torch(made.eval(), shape=(5,))
    np.testing.assert_allclose(target.logits(examples.x), logits_of(made._module, examples.x), atol=1e-6)


def test_the_claim_is_that_of_the_accountant_and_its_event_gives_as_much(private):
    from privsec.privacy.accounting import epsilon

    _, engine = private
    claim = opacus_claim(engine, 1e-3)
    assert claim.event == DPEvent(0.2, 1.5, 10) and claim.source == "Opacus, accountant rdp"
    assert claim == opacus_claim(engine.accountant, 1e-3)
    assert claim.epsilon == engine.accountant.get_epsilon(1e-3)
    assert epsilon(claim.event, 1e-3, accountant="rdp") == pytest.approx(claim.epsilon, rel=0.02)


def test_other_histories_of_steps():
    accountants = pytest.importorskip("opacus.accountants")

    def of(*history, kind=accountants.RDPAccountant):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            accountant = kind()
        accountant.history = list(history)
        return opacus_claim(accountant, 1e-5)

    parted = of((1.0, 0.01, 10), (2.0, 0.01, 10), (1.0, 0.01, 5))
    assert parted.event is None and 0 < parted.epsilon < np.inf
    assert of((1.0, 0.01, 10), (1.0, 0.01, 5)).event == DPEvent(0.01, 1.0, 15)
    assert of((0.0, 0.01, 10)).epsilon == np.inf
    assert "an approximation" in of((1.0, 0.01, 100), kind=accountants.GaussianAccountant).source
    with pytest.raises(ConfigError, match="has seen no step"):
        of()


def test_what_is_no_accountant_claims_nothing():
    with pytest.raises(ConfigError, match=r"give the opacus\.PrivacyEngine"):
        opacus_claim(object(), 1e-5)
    with pytest.raises(ConfigError, match="delta is a probability"):
        opacus_claim(type("Fake", (), {"history": [1], "get_epsilon": None})(), 0.0)
