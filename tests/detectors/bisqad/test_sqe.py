"""BiSQAD's loss tracks, targets, quality estimator and weights of samples, against loops and formulas."""

import numpy as np
import pytest
import torch

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
