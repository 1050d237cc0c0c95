"""BiSQAD's estimator and outer loop against loops, exact second-order graphs and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from detectors.bisqad.outer import MOST, auc_loss, influences, outer_gradients, smooth_maximum, update
from detectors.bisqad.sqe import HEAVIEST, LIGHTEST, Estimator, LossTrack, sample_weights, targets

RATE = 0.05
SYNTHETIC = torch.tensor([True, False, True, True, False, True])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def looped_track(samples, index, losses):
    """Weighted mean and deviation of each sample's losses, the newest weighing 1, the one before 0.9, and so on."""
    mean, deviation = np.full(samples, np.nan), np.full(samples, np.nan)
    for sample in range(samples):
        own = [loss for place, loss in zip(index, losses, strict=True) if place == sample]
        if own:
            weights = 0.9 ** np.arange(len(own))[::-1]
            mean[sample] = np.average(own, weights=weights)
            deviation[sample] = np.sqrt(np.average((own - mean[sample]) ** 2, weights=weights))
    return mean, deviation


def test_losses_are_tracked_as_one_after_the_other_whatever_the_batches():
    index = torch.randint(0, 8, (60,), generator=seeded())
    losses = torch.rand(60, generator=seeded(1), dtype=torch.float64)
    track = LossTrack(10)
    for rows in torch.arange(60).split(13):
        track.update(index[rows], losses[rows])
    mean, deviation = looped_track(10, index.tolist(), losses.tolist())
    np.testing.assert_allclose(track.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(track.deviation, deviation, atol=1e-7)
    assert track.times.tolist() == torch.bincount(index, minlength=10).tolist()
    assert track.seen.tolist() == [sample in index for sample in range(10)]
    assert not track.seen[8:].any()
    assert track.mean[8:].isnan().all()


def test_a_track_goes_on_from_its_state():
    batches = [(torch.randint(0, 5, (7,), generator=seeded(step)), torch.rand(7, generator=seeded(step))) for step in range(4)]
    whole, first, second = LossTrack(5), LossTrack(5), LossTrack(5)
    for number, (index, losses) in enumerate(batches):
        whole.update(index, losses)
        if number == 2:
            second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
        (first if number < 2 else second).update(index, losses)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


@pytest.mark.parametrize("scaling", ["rank", "clip", "minmax"])
def test_the_lower_the_loss_the_better_the_easy_target(scaling):
    losses = torch.rand(200, generator=seeded())
    quality = targets(losses, "easy", scaling)
    assert quality.min() >= 0
    assert quality.max() <= 1
    assert (quality[losses.argsort()].diff() <= 0).all()
    assert quality.max() - quality.min() > 0.98


@pytest.mark.parametrize("scaling", ["rank", "clip", "minmax"])
def test_the_band_holds_the_middle(scaling):
    losses = torch.linspace(0, 1, 101, dtype=torch.float64)
    quality = targets(losses, "band", scaling)
    assert (quality[22:79] == 1).all()
    assert quality[[0, -1]].max() < 0.01
    assert (quality[:22].diff() >= 0).all()
    assert quality.diff().abs().max() < 0.1
    torch.testing.assert_close(quality, quality.flip(0))


def test_literal_targets_are_the_equation_and_an_outlier_squeezes_only_them():
    losses = torch.tensor([1.0, 2.0, 3.0, 5.0], dtype=torch.float64)
    np.testing.assert_allclose(targets(losses, "easy", "minmax"), [1, 0.75, 0.5, 0], atol=1e-7)
    many = torch.linspace(1, 2, 100, dtype=torch.float64)
    outlying = torch.cat([many, torch.tensor([1000.0], dtype=torch.float64)])
    spread = {scaling: float(torch.std(targets(outlying, "easy", scaling)[:-1])) for scaling in ("rank", "clip", "minmax")}
    assert spread["minmax"] < 1e-3
    assert min(spread["rank"], spread["clip"]) > 0.25


def test_targets_leave_out_what_was_never_seen_and_share_ranks():
    nan = torch.nan
    losses = torch.tensor([3.0, nan, 1.0, 3.0, 2.0, nan])
    quality = targets(losses)
    assert quality.isnan().tolist() == losses.isnan().tolist()
    assert torch.equal(quality[[0, 2, 3, 4]], targets(losses[[0, 2, 3, 4]]))
    assert quality[0] == quality[3]
    assert targets(torch.full((3,), nan)).isnan().all()
    for scaling in ("rank", "clip", "minmax"):  # equal losses make no difference, and no NaN
        assert len(set(targets(torch.ones(4), "easy", scaling).tolist())) == 1


def planted(count=600, length=12):
    features = torch.randn(count, length, generator=seeded()) * torch.logspace(-2, 2, length) + 5
    features[:, 3] = 7.0
    hidden = torch.randn(length, generator=seeded(1))
    hidden[3] = 0
    standard = (features - features.mean(0)) / features.std(0).clamp(min=1e-3)
    return features.half(), torch.sigmoid(standard @ hidden)


def test_the_estimator_learns_a_planted_relation_on_what_was_seen():
    features, quality = planted()
    known = quality.clone()
    known[400:] = torch.nan
    estimator = Estimator(features.shape[1])
    assert (estimator(features) == 0.5).all()
    error = estimator.fit(features, known, rate=0.02, epochs=30, batch_size=32, generator=seeded())
    guess = estimator(features)
    assert error < 1e-3
    assert (guess[400:] - quality[400:]).abs().max() < 0.1
    assert guess.shape == (600,)
    assert estimator.deviation[3] == 1
    with pytest.raises(ValueError, match="seen"):
        estimator.fit(features, torch.full_like(quality, torch.nan), 0.02, 1, 32, seeded())


def test_fitting_is_deterministic_and_does_not_look_at_what_was_not_seen():
    features, quality = planted()
    known = quality.clone()
    known[::3] = torch.nan
    state = torch.get_rng_state()
    layers = []
    for seed in (0, 0, 1):
        estimator = Estimator(features.shape[1])
        estimator.fit(features, known, rate=1e-2, epochs=2, batch_size=50, generator=seeded(seed))
        layers.append(estimator.layer.weight.detach())
    assert torch.equal(layers[0], layers[1])
    assert not torch.equal(layers[0], layers[2])
    assert torch.equal(state, torch.get_rng_state())
    again = Estimator(features.shape[1])
    again.load_state_dict(estimator.state_dict())
    assert torch.equal(again(features), estimator(features))


def test_weights_are_relative_among_synthetic_samples_and_normals_weigh_one():
    quality = torch.tensor([0.2, torch.nan, 0.4, 0.6, 0.9, 0.8])
    data = torch.tensor([1.0, torch.nan, 0.5, 2.0, 3.0, 1.0])
    weights = sample_weights(quality, data, SYNTHETIC, 1.0, 0.5)
    raw = (quality + 0.5 * data)[SYNTHETIC]
    torch.testing.assert_close(weights[SYNTHETIC], raw / raw.mean())
    assert (weights[~SYNTHETIC] == 1).all()
    for scale in (0.1, 7.0):
        torch.testing.assert_close(sample_weights(quality, data, SYNTHETIC, scale, scale / 2), weights)


def test_weights_are_uniform_without_either_part_and_data_weights_count_alone():
    quality, data = torch.rand(6, generator=seeded()), torch.rand(6, generator=seeded(1)) + 0.5
    assert (sample_weights(quality, data, SYNTHETIC, 0, 0) == 1).all()
    alone = sample_weights(quality, data, SYNTHETIC, 0, 1)
    torch.testing.assert_close(alone[SYNTHETIC], data[SYNTHETIC] / data[SYNTHETIC].mean())
    torch.testing.assert_close(sample_weights(quality, 0 * data, SYNTHETIC, 0, 1), torch.ones(6))
    assert (sample_weights(quality, data, torch.zeros(6, dtype=torch.bool), 1, 1) == 1).all()


def test_weights_are_limited_but_a_sample_at_a_limit_can_come_back():
    data = torch.tensor([1e-3] + [0.1] * 9 + [3.0], requires_grad=True)
    weights = sample_weights(torch.zeros(11), data, torch.ones(11, dtype=torch.bool), 0, 1)
    assert weights[0].item() == pytest.approx(LIGHTEST)
    assert weights[-1].item() == pytest.approx(HEAVIEST)
    (slope,) = torch.autograd.grad(weights[0], data)
    assert slope[0] > 0


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
