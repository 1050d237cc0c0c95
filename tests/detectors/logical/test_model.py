"""LogicAL's networks, losses and augmentation, against plain references."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from detectors.logical.augmentation import augmented, jittered
from detectors.logical.config import PRESETS, LogicalConfig, make_config
from detectors.logical.losses import Targets, edge_loss, focal_loss, likeness_loss, losses, similarity
from detectors.logical.model import LogicAL, explained, pooled
from detectors.logical.network import Attention, DiffNeck, InstanceNorm, Localization, Reconstruction
from detectors.logical.train import learning_rate_at
from synthgen.errors import UsageError

TINY = {"rec_width": 8, "seg_width": 4, "size": (32, 64), "pool": 5, "batch_size": 4}


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny(**changes):
    torch.manual_seed(0)
    return LogicAL(make_config("cpu", "mvtec", "bottle", TINY | changes))


@pytest.mark.parametrize(("preset", "millions"), [("paper", 98.3), ("medium", 24.6), ("small", 6.2), ("cpu", 1.5)])
def test_presets_have_the_sizes_of_the_networks_they_follow(preset, millions):
    config = make_config(preset, "mvtec", "bottle", {})
    with torch.device("meta"):
        parameters = sum(value.numel() for value in LogicAL(config).parameters())
    assert parameters / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("size", [(32, 32), (32, 96), (256, 320)])
def test_any_size_that_32_divides_goes_through(size):
    model = tiny(size=size).eval()
    with torch.inference_mode():
        maps, scores = model(255 * uniform(2, 3, *size).float())
        made, logits = model.both(uniform(2, 3, *size).float())
    assert maps.shape == (2, *size)
    assert scores.shape == (2,)
    assert made.image.shape == (2, 3, *size)
    assert made.jnd.shape == made.edges.shape == (2, 1, *size)
    assert logits.shape == (2, 2, *size)
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1


def test_an_image_scores_the_same_whatever_is_scored_with_it():
    model = tiny().eval()
    images = 255 * uniform(3, 3, 32, 64).float()
    with torch.inference_mode():
        together, alone = model(images), model(images[1:2])
    torch.testing.assert_close(together[0][1], alone[0][0])
    torch.testing.assert_close(together[1][1], alone[1][0])


def test_the_reconstruction_has_no_way_around_its_narrowest_place():
    network = Reconstruction(8).double()
    image = uniform(1, 3, 32, 32).requires_grad_()
    network.down[-1].register_forward_hook(lambda module, inputs, output: output * 0)
    network(image).image.square().sum().backward()
    assert not image.grad.any()


def test_attention_is_what_it_says():
    attention, x = Attention(16).double(), uniform(2, 16, 6, 7)
    weights = {name: value.detach() for name, value in attention.state_dict().items()}
    pooled_channels = x.mean((2, 3))
    hidden = (pooled_channels @ weights["narrow.weight"][:, :, 0, 0].T + weights["narrow.bias"]).clamp(min=0)
    assert hidden.shape == (2, 2)
    channel = torch.sigmoid(hidden @ weights["widen.weight"][:, :, 0, 0].T + weights["widen.bias"])
    y = x * channel[:, :, None, None]
    planes = torch.stack([y.mean(1), y.max(1).values], 1)
    near = functional.conv2d(planes, weights["near.weight"], weights["near.bias"], padding=1)
    spread = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    spread[..., ::2, ::2] = weights["far.weight"]
    far = functional.conv2d(planes, spread, weights["far.bias"], padding=2)
    torch.testing.assert_close(attention(x), y * torch.sigmoid(near + 0.1 * far))


def test_both_ways_of_normalising_agree():
    norm, x = InstanceNorm(3).double(), 7 * uniform(2, 3, 5, 6)
    norm.load_state_dict({"weight": torch.tensor([1.0, 2, 3]), "bias": torch.tensor([0.0, 1, 2])})
    training, scoring = norm.train()(x), norm.eval()(x)
    torch.testing.assert_close(training, scoring)
    torch.testing.assert_close(scoring.mean((2, 3)), torch.tensor([[0.0, 1, 2]] * 2).double())


def test_the_neck_sees_differences_and_gradients():
    neck, made = DiffNeck(4).double().eval(), Reconstruction(8).double().eval()
    image = uniform(1, 3, 32, 32)
    with torch.inference_mode():
        found = neck(image, made(image))
        ramp = neck._gradient(torch.linspace(0, 1, 32, dtype=torch.float64).expand(1, 1, 32, 32))
    assert found.shape == (1, 4, 32, 32)
    assert ramp[..., 1:-1].mean() == pytest.approx(2 / 31, rel=1e-3)  # the Sobel filter spans two pixels


def test_levels_three_to_six_of_the_localization_are_dilated():
    network = Localization(4)
    spreads = [{one.dilation[0] for one in block if isinstance(one, torch.nn.Conv2d)} for block in network.down]
    assert spreads == [{1}, {1}, {2}, {2}, {2}, {2}]


def reference_similarity(one, other):
    def window(x):
        return gaussian_filter(x, 1.5, mode="constant", radius=5)

    a, b = one.numpy(), other.numpy()
    mean_a, mean_b = window(a), window(b)
    covariance = window(a * b) - mean_a * mean_b
    variances = window(a * a) - mean_a**2 + window(b * b) - mean_b**2
    return (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4) / ((mean_a**2 + mean_b**2 + 1e-4) * (variances + 9e-4))


def test_similarity_agrees_with_a_plain_reference():
    one, other = uniform(2, 3, 20, 26), uniform(2, 3, 20, 26, seed=1)
    found = similarity(one, other)
    for image in range(2):
        for channel in range(3):
            wanted = reference_similarity(one[image, channel], other[image, channel])
            np.testing.assert_allclose(found[image, channel].numpy(), wanted, atol=1e-9)
    assert torch.allclose(similarity(one, one), torch.ones_like(one))
    assert likeness_loss(one, one) == pytest.approx(0, abs=1e-12)
    wanted = (one - other).square().mean() + 1 - found.mean()
    assert likeness_loss(one, other) == pytest.approx(float(wanted))


def test_values_below_zero_are_drawn_back():
    for depth in (0.3, 0.6, 2.0):  # alone, the similarity would send them further down
        made = torch.full((1, 1, 24, 24), -depth, dtype=torch.float64, requires_grad=True)
        likeness_loss(made, torch.full_like(made, 0.4)).backward()
        assert (made.grad < 0).all()


def reference_edge_loss(logits, wanted):
    losses = []
    for image, strengths in zip(logits[:, 0].numpy(), wanted[:, 0].numpy(), strict=True):
        positives = negatives = 0
        for strength in strengths.ravel():
            positives += strength >= 0.3
            negatives += strength < 0.1
        alpha, beta = 1.1 * positives / (positives + negatives), negatives / (positives + negatives)
        total = 0.0
        for logit, strength in zip(image.ravel(), strengths.ravel(), strict=True):
            p = 1 / (1 + np.exp(-logit))
            if strength < 0.1:
                total -= alpha * np.log(1 - p)
            elif strength >= 0.3:
                total -= beta * np.log(p)
        losses.append(total / (positives + negatives))
    return np.mean(losses)


def test_the_edge_loss_agrees_with_a_plain_reference():
    logits, wanted = 8 * uniform(3, 1, 9, 11) - 4, uniform(3, 1, 9, 11, seed=1) ** 2
    assert float(edge_loss(logits, wanted)) == pytest.approx(reference_edge_loss(logits, wanted))


@pytest.mark.parametrize("strength", [0.0, 0.2, 1.0])
def test_the_edge_loss_of_one_class_alone_is_nothing(strength):
    logits = (8 * uniform(2, 1, 5, 5) - 4).requires_grad_()
    loss = edge_loss(logits, torch.full_like(logits, strength))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_the_edge_loss_bears_logits_that_are_sure():
    logits = torch.tensor([[[[200.0, -200.0, 200.0]]]], requires_grad=True)
    loss = edge_loss(logits, torch.tensor([[[[0.0, 1.0, 1.0]]]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_the_focal_loss_agrees_with_a_plain_reference():
    logits, masks = 6 * uniform(2, 2, 5, 7) - 3, uniform(2, 5, 7, seed=1) > 0.7
    total = []
    for image in range(2):
        for y in range(5):
            for x in range(7):
                powers = np.exp(logits[image, :, y, x].numpy())
                p = powers[int(masks[image, y, x])] / powers.sum()
                total.append(-((1 - p) ** 2) * np.log(p))
    assert float(focal_loss(logits, masks)) == pytest.approx(np.mean(total))


def test_losses_are_float32_under_autocast_and_reach_every_parameter():
    model = tiny()
    images = uniform(2, 3, 32, 64).float()
    edges = uniform(2, 1, 32, 64, seed=1).float()
    wanted = Targets(images.flip(0), edges, edges, uniform(2, 32, 64, seed=2) > 0.8)
    with torch.autocast("cpu", torch.bfloat16):
        made, logits = model.both(images)
    terms = losses(made, logits, wanted, model.config)
    assert terms.total.dtype == torch.float32
    assert terms.total.item() == pytest.approx((terms.image + terms.jnd + terms.edge + terms.mask).item(), rel=1e-5)
    terms.mask.backward()  # the localization alone moves the reconstruction, too
    assert all(value.grad is not None and value.grad.any() for value in model.reconstruction.image.parameters())


def test_weights_of_losses_count():
    model = tiny(jnd_weight=0.5, edge_weight=0)
    images, planes = uniform(2, 3, 32, 64).float(), uniform(2, 1, 32, 64, seed=1).float()
    terms = losses(*model.both(images), Targets(images, planes, planes, planes[:, 0] > 0.5), model.config)
    assert terms.total.item() == pytest.approx((terms.image + 0.5 * terms.jnd + terms.mask).item(), rel=1e-5)


def test_windows_beyond_the_border_hold_zeros():
    maps = torch.ones(1, 8, 8)
    assert pooled(maps, 3)[0, 4, 4] == pytest.approx(1)
    assert pooled(maps, 3)[0, 0, 0] == pytest.approx(4 / 9)


def test_what_lies_between_can_be_looked_at():
    image = (255 * uniform(32, 64, 3)).numpy().astype(np.uint8)
    pictures = explained(tiny().eval(), image)
    assert list(pictures) == ["reconstruction", "edges", "JND"]
    assert all(one.shape == (32, 64, 3) and one.dtype == np.uint8 for one in pictures.values())


def test_the_rate_falls_twice():
    config = LogicalConfig(epochs=10, learning_rate=1.0, decay=0.2)
    assert [round(learning_rate_at(config, epoch), 6) for epoch in (1, 8, 9, 10)] == [1, 1, 0.2, 0.04]


def test_nothing_is_augmented_unless_asked_for():
    images, planes = uniform(2, 3, 32, 32).float(), uniform(2, 1, 32, 32, seed=1).float()
    wanted = Targets(images, planes, planes, planes[:, 0] > 0.5)
    inputs, same = augmented(images, wanted, make_config("paper", "mvtec", "bottle", {}), torch.Generator())
    assert torch.equal(inputs, images)
    assert same is wanted
    assert make_config("paper", "visa", "candle", {}).jitter == 0.1
    assert make_config("cpu", "visa", "candle", {"jitter": 0}).jitter == 0
    assert make_config("cpu", "madsim", "cat", {}).warp == 0.05
    assert make_config("cpu", "mvtec", "bottle", {}).warp == 0.02


def test_a_warp_moves_everything_alike():
    ramp = torch.linspace(0, 1, 32).expand(2, 1, 32, 32).clone()
    wanted = Targets(ramp.expand(-1, 3, -1, -1), ramp, ramp, ramp[:, 0] > 0.5)
    config = make_config("cpu", "madsim", "cat", {"warp": 0.1, "jitter": 0})
    inputs, moved = augmented(ramp.expand(-1, 3, -1, -1), wanted, config, torch.Generator().manual_seed(1))
    assert not torch.allclose(inputs, ramp.expand(-1, 3, -1, -1), atol=1e-3)
    for one in (moved.image[:, :1], moved.jnd, moved.edges):
        torch.testing.assert_close(one, inputs[:, :1])
    sure = (inputs[:, 0] - 0.5).abs() > 0.04
    assert torch.equal(moved.masks[sure], (inputs[:, 0] > 0.5)[sure])


def test_jitter_changes_a_group_alike_and_leaves_gray_gray():
    pictures = uniform(3, 1, 3, 8, 8).float().expand(-1, 2, -1, -1, -1)
    changed = jittered(pictures, 0.1, 0.02, torch.Generator().manual_seed(3))
    torch.testing.assert_close(changed[:, 0], changed[:, 1])
    assert 0.002 < float((changed - pictures).abs().mean()) < 0.1
    gray = jittered(torch.full((2, 1, 3, 4, 4), 0.5), 0.1, 0.02, torch.Generator().manual_seed(3))
    assert float((gray.amax(2) - gray.amin(2)).max()) < 1e-5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": 100}, "size"),
        ({"widht": 3}, "no such setting"),
        ({"pool": 4}, "odd"),
        ({"pool": 333}, "odd number of at most 128"),
        ({"edge_low": 0.5, "edge_high": 0.3}, "larger"),
        ({"anomaly_share": 0.9}, "whole batch"),
        ({"epochs": "many"}, "epochs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, told):
    with pytest.raises(UsageError, match=told):
        make_config("cpu", "mvtec", "bottle", changes)


def test_presets_are_known_and_squares_need_one_number():
    with pytest.raises(UsageError, match="no such preset"):
        make_config("cpus", "mvtec", "bottle", {})
    assert all(make_config(preset, "mvtec", "bottle", {}) for preset in PRESETS)
    assert make_config("cpu", "mvtec", "bottle", {"size": 64}).size == (64, 64)
    assert make_config("cpu", "mvtec", "bottle", {"size": [64, 96]}).resized == (64, 96)
