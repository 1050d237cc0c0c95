"""BiSQAD's outer loop against exact second-order graphs and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from detectors.bisqad.outer import MOST, auc_loss, influences, outer_gradients, smooth_maximum, update
from detectors.bisqad.sqe import Estimator, sample_weights

RATE = 0.05
SYNTHETIC = torch.tensor([True, False, True, True, False, True])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_auc_loss_is_the_mean_over_pairs_and_its_limit_the_auc():
    scores = torch.rand(40, generator=seeded(), dtype=torch.float64).mul(20).round() / 20  # with ties
    anomalous = torch.rand(40, generator=seeded(1)) < 0.4
    pairs = [1 / (1 + math.exp(10 * (a - n))) for a in scores[anomalous].tolist() for n in scores[~anomalous].tolist()]
    assert float(auc_loss(scores, anomalous)) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert 1 - float(auc_loss(scores, anomalous, 1e6)) == pytest.approx(roc_auc_score(anomalous, scores), abs=1e-12)
    for missing in (torch.zeros(40, dtype=torch.bool), torch.ones(40, dtype=torch.bool)):
        with pytest.raises(ValueError, match="normals and anomalies"):
            auc_loss(scores, missing)


def test_the_smooth_maximum_is_between_mean_and_maximum_and_tends_to_it():
    maps = torch.rand(2, 20, 23, generator=seeded(), dtype=torch.float64)
    windows = [[[float(one[y : y + 5, x : x + 5].mean()) for x in range(0, 19, 3)] for y in range(0, 16, 3)] for one in maps]
    plain = [math.log(np.mean(np.exp(20 * np.array(one)))) / 20 for one in windows]
    np.testing.assert_allclose(smooth_maximum(maps, 5, 3), plain, rtol=1e-12)
    largest = np.max(windows, axis=(1, 2))
    assert (smooth_maximum(maps, 5, 3).numpy() < largest).all()
    assert (smooth_maximum(maps, 5, 3).numpy() > np.mean(windows, axis=(1, 2))).all()
    np.testing.assert_allclose(smooth_maximum(maps, 5, 3, 1e5), largest, atol=1e-4)
    maps.requires_grad_()
    smooth_maximum(maps, 5, 1).sum().backward()
    assert (maps.grad > 0).all()


class Toy:
    """A small convolutional detector in float64, a batch to train on and one to validate on."""

    def __init__(self, activation=nn.SiLU):
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), activation(), nn.Conv2d(6, 1, 3, padding=1)
        ).double()  # fmt: skip
        self.model(torch.randn(8, 3, 12, 12, dtype=torch.float64))  # statistics of the batch norm
        self.model.eval()
        self.params = dict(self.model.named_parameters())
        self.images = torch.randn(6, 3, 12, 12, dtype=torch.float64)
        self.masks = (torch.rand(6, 12, 12) < 0.2).double() * SYNTHETIC[:, None, None]
        self.held_out = torch.randn(5, 3, 12, 12, dtype=torch.float64)
        self.anomalous = torch.tensor([True, False, True, False, False])
        self.quality = nn.Linear(4, 1).double()
        self.features = torch.randn(6, 4, dtype=torch.float64)
        self.data = (0.5 + torch.rand(6, dtype=torch.float64)).requires_grad_()

    def maps(self, params, images):
        return functional_call(self.model, dict(params), (images,))[:, 0]

    def losses(self, params):
        maps = self.maps(params, self.images)
        return functional.binary_cross_entropy_with_logits(maps, self.masks, reduction="none").mean((1, 2))

    def validation(self, params):
        return auc_loss(smooth_maximum(torch.sigmoid(self.maps(params, self.held_out)), 4, 2), self.anomalous)

    def weights(self):
        quality = torch.sigmoid(self.quality(self.features)[:, 0])
        return sample_weights(quality, self.data, SYNTHETIC, 1.0, 0.5)

    @property
    def inputs(self):
        return [self.data, *self.quality.parameters()]

    def exact(self, weights, inputs):
        """The gradients through a graph of the inner step."""
        losses = self.losses(self.params)
        slopes = torch.autograd.grad((weights * losses).mean(), list(self.params.values()), create_graph=True)
        moved = {name: value - RATE * slope for (name, value), slope in zip(self.params.items(), slopes, strict=True)}
        return torch.autograd.grad(self.validation(moved), inputs, retain_graph=True)

    def influence(self, weights, method="jvp"):
        return influences(self.losses, self.params, weights, self.validation, RATE, method)


def agree(got, expected, tolerance):
    largest = max(float(one.abs().max()) for one in expected)
    assert largest > 1e-6
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize(("method", "tolerance"), [("jvp", 1e-8), ("auto", 1e-8), ("finite", 1e-6)])
def test_outer_gradients_are_those_of_the_second_order_graph(method, tolerance):
    toy = Toy()
    weights = toy.weights()
    before = {name: value.clone() for name, value in toy.params.items()}
    expected = toy.exact(weights, toy.inputs)
    got = outer_gradients(weights, toy.influence(weights, method), RATE, toy.inputs)
    agree(got, expected, tolerance)
    assert (got[0][~SYNTHETIC] == 0).all()
    assert got[0].dot(toy.data.detach()).abs() < got[0].abs().max()
    for name, value in toy.params.items():
        assert torch.equal(value, before[name])
        assert value.grad is None


@pytest.mark.parametrize(("method", "tolerance"), [("jvp", 1e-8), ("finite", 1e-6)])
def test_influences_alone_are_the_gradient_by_plain_weights(method, tolerance):
    toy = Toy()
    plain = torch.rand(6, generator=seeded(), dtype=torch.float64).requires_grad_()
    influence = toy.influence(plain, method)
    assert not influence.requires_grad
    expected = toy.exact(plain, [plain])
    agree([-RATE / 6 * influence], expected, tolerance)
    agree(outer_gradients(plain, influence, RATE, [plain]), expected, tolerance)
    (unused,) = outer_gradients(plain * 2, influence, RATE, [torch.ones(3, requires_grad=True)])
    assert (unused == 0).all()


def test_no_graph_is_kept_where_nothing_asks_for_gradients():
    toy = Toy()
    with torch.no_grad():
        quiet = toy.influence(toy.weights(), "auto")
    torch.testing.assert_close(quiet, toy.influence(toy.weights()), rtol=1e-10, atol=0)
    toy.params = {name: value.detach() for name, value in toy.params.items()}
    torch.testing.assert_close(quiet, toy.influence(toy.weights()), rtol=1e-10, atol=0)


class _Backwards(torch.autograd.Function):
    """The sine, without a forward-mode derivative."""

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(context, inputs, output):
        context.save_for_backward(*inputs)

    @staticmethod
    def backward(context, gradient):
        return gradient * context.saved_tensors[0].cos()


class _OldBackwards(_Backwards):
    """The same in the older style, which no functional transformation takes."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.sin()

    setup_context = torch.autograd.Function.setup_context


@pytest.mark.parametrize("function", [_Backwards, _OldBackwards])
def test_finite_differences_step_in_where_forward_mode_is_missing(function):
    class Sine(nn.Module):
        def forward(self, x):
            return function.apply(x)

    toy = Toy(Sine)
    weights = toy.weights()
    expected = toy.exact(weights, toy.inputs)
    with pytest.warns(RuntimeWarning, match="finite differences"):
        got = toy.influence(weights, "auto")
    agree(outer_gradients(weights, got, RATE, toy.inputs), expected, 1e-6)
    with pytest.raises(RuntimeError):
        toy.influence(weights, "jvp")


def test_other_errors_are_not_taken_for_missing_forward_mode():
    toy = Toy()
    calls = []

    def breaks_later(params):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("out of memory")
        return toy.losses(params)

    with pytest.raises(RuntimeError, match="memory"):
        influences(breaks_later, toy.params, toy.weights(), toy.validation, RATE, "auto")


def test_without_a_slope_nothing_has_influence():
    toy = Toy()
    for method in ("jvp", "finite"):
        flat = influences(toy.losses, toy.params, toy.weights(), lambda params: params["0.weight"].sum() * 0, RATE, method)
        assert (flat == 0).all()


@pytest.mark.parametrize(("how", "rate"), [("sign", 0.05), ("adam", 0.05), ("sgd", 200.0)])
def test_poisoned_samples_lose_weight_and_helpful_ones_gain(how, rate):
    """A linear detector of two shifted Gaussians; a third of the anomalies it is trained on are normals by nature."""
    generator = seeded()
    kinds = torch.tensor([0] * 60 + [1] * 60)  # label
    poisoned = torch.arange(120) >= 100
    points = torch.randn(120, 4, generator=generator, dtype=torch.float64) + 1.5 * (kinds * ~poisoned)[:, None]
    points[poisoned] -= 1.0  # as if being less than normal were an anomaly
    held_kinds = torch.arange(60) < 30
    held_out = torch.randn(60, 4, generator=generator, dtype=torch.float64) + 1.5 * held_kinds[:, None]
    model = nn.Linear(4, 1).double()
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    params = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    synthetic = kinds == 1
    data = torch.ones(120, dtype=torch.float64)
    state = torch.zeros(3, 120, dtype=torch.float64)

    for _ in range(40):
        rows = torch.randperm(120, generator=generator)[:48]

        def losses(params, rows=rows):
            logits = functional_call(model, dict(params), (points[rows],))[:, 0]
            return functional.binary_cross_entropy_with_logits(logits, kinds[rows].double(), reduction="none")

        def validation(params):
            return auc_loss(functional_call(model, dict(params), (held_out,))[:, 0], held_kinds, 1.0)

        asked = data.clone().requires_grad_()
        weights = sample_weights(torch.zeros(48), asked[rows], synthetic[rows], 0, 1)
        influence = influences(losses, params, weights, validation, 0.05)
        (gradient,) = outer_gradients(weights, influence, 0.05, [asked])
        data, state = update(data, gradient, rate, how, state)
        optimizer.zero_grad()
        (losses(params) * weights.detach()).mean().backward()
        optimizer.step()
    assert (data[~synthetic] == 1).all()
    assert data[poisoned].mean() < 0.8
    assert data[synthetic & ~poisoned].mean() > 1.05
    assert data[poisoned].max() < data[synthetic & ~poisoned].median()
    assert data.min() >= 0
    assert data.max() <= MOST


def test_adam_is_torchs_where_every_sample_is_seen_and_waits_where_not():
    data = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    torchs = data.clone().requires_grad_()
    optimizer = torch.optim.Adam([torchs], lr=0.01, eps=1e-15)
    state = torch.zeros(3, 5, dtype=torch.float64)
    for step in range(6):
        gradient = torch.randn(5, generator=seeded(step), dtype=torch.float64)
        torchs.grad = gradient
        optimizer.step()
        previous, (data, state) = state, update(data, gradient, 0.01, "adam", state)
        still, kept = update(data, torch.zeros(5, dtype=torch.float64), 0.01, "adam", state)
        assert torch.equal(still, data)
        assert torch.equal(kept, state)
        assert not torch.equal(previous, state)
    torch.testing.assert_close(data, torchs.detach())


def test_updates_stay_within_limits_and_leave_their_inputs():
    data, gradient = torch.tensor([0.1, 1.0, 2.9]), torch.tensor([5.0, 0.0, -5.0])
    state = torch.zeros(3, 3)
    for how, expected in (("sign", [0.0, 1.0, 3.0]), ("sgd", [0.0, 1.0, 3.0])):
        moved, same = update(data, gradient, 0.5, how, state)
        assert moved.tolist() == expected
        assert torch.equal(same, state)
    assert data.tolist() == pytest.approx([0.1, 1.0, 2.9])


def test_quality_teaches_the_estimator_but_only_where_it_is_not_detached():
    toy = Toy()
    features, estimator = torch.randn(6, 4, generator=seeded()), Estimator(4)
    quality = estimator(features)
    weights = sample_weights(quality, torch.ones(6), SYNTHETIC, 1.0, 0.5)
    influence = toy.influence(weights.double())
    slopes = outer_gradients(weights, influence, RATE, list(estimator.parameters()))
    assert slopes[0].abs().max() > 0
    detached = sample_weights(quality.detach(), torch.ones(6), SYNTHETIC, 1.0, 0.5)
    assert not detached.requires_grad


def test_fused_attention_is_differentiated_exactly():
    class Attention(nn.Module):
        def forward(self, x):
            return functional.scaled_dot_product_attention(x, x, x)

    toy = Toy(Attention)
    weights = toy.weights()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the other has no second derivative either
        expected = toy.exact(weights, toy.inputs)
    agree(outer_gradients(weights, toy.influence(weights, "auto"), RATE, toy.inputs), expected, 1e-8)


def test_autocast_is_left_out():
    toy = Toy()
    toy.model.float()
    toy.params = {name: value.detach() for name, value in toy.model.named_parameters()}
    toy.images, toy.held_out, toy.masks = toy.images.float(), toy.held_out.float(), toy.masks.float()
    full = toy.influence(torch.ones(6), "auto")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(toy.influence(torch.ones(6), "auto"), full)
    rough = toy.influence(torch.ones(6), "finite")
    assert (rough - full).abs().max() < 0.01 * full.abs().max()
