"""PBAS's parts against slow, obvious references."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from detectors.pbas import losses as losses_module
from detectors.pbas.config import PBASConfig, make_config
from detectors.pbas.losses import losses, synthesise
from detectors.pbas.model import (
    Embedding,
    FeatureDiscriminator,
    Head,
    Projector,
    compounding_average,
    feature_side,
    initial_centre,
    nearest,
    single_average,
    spreading,
)
from synthgen.errors import UsageError
from tests.reference import pbas as reference

SMALL = PBASConfig(size=64, embedding=24, discriminator_width=16)


@pytest.fixture
def features():
    torch.manual_seed(0)
    return torch.randn(4, 10, 24)


@pytest.mark.parametrize(
    ("channels", "length", "side"),
    [
        ((512, 1024), 1536, (8, 6)),
        ((128, 256), 384, (9, 7)),
        ((16, 32), 30, (5, 5)),
        ((8, 16, 32), 24, (8, 8)),
        ((12,), 7, (4, 3)),
    ],
)
@pytest.mark.parametrize("patch", [1, 3, 5])
def test_the_embedding_equals_the_written_out_one(channels, length, side, patch):
    torch.manual_seed(1)
    maps = [torch.randn(2, count, -(-side[0] // 2**k), -(-side[1] // 2**k)) for k, count in enumerate(channels)]
    ours = Embedding(channels, length, patch)(maps)
    assert ours.shape == (2, length, *side)
    theirs = reference.embedding(maps, length, patch)
    torch.testing.assert_close(ours.permute(0, 2, 3, 1).reshape(-1, length), theirs, atol=2e-6, rtol=0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_nearest_centres(features, metric):
    centre = torch.randn(7, 24)
    assert torch.equal(nearest(features[0], centre, metric), reference.nearest(features[0], centre, metric))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_aligned_centre_equals_the_loop(features, metric):
    config = SMALL.model_copy(update={"metric": metric, "batch_size": 1, "momentum": 0.3})
    projector = Projector(24).double()
    batches = features.double().split(1)
    with torch.no_grad():
        ours = initial_centre(batches, config, projector)
        theirs = projector(batches[0]).mean(0).float()
        for batch in batches[1:]:
            theirs = reference.update_centre(theirs, projector(batch).mean(0).float(), metric, 0.3)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_repeated_matches_compound_in_order():
    torch.manual_seed(2)
    centre, values = torch.randn(5, 3, dtype=torch.float64), torch.randn(40, 3, dtype=torch.float64)
    index = torch.randint(0, 4, (40,))  # the last centre is never matched
    wanted = centre.clone()
    for j, k in enumerate(index.tolist()):
        wanted[k] = 0.9 * wanted[k] + 0.1 * values[j]
    torch.testing.assert_close(compounding_average(centre, values, index, 0.1), wanted)
    assert torch.equal(compounding_average(centre, values, index, 0.1)[4], centre[4])


def test_sets_move_each_matched_centre_once():
    centre = torch.tensor([[0.0], [10.0], [20.0]])
    moved = single_average(centre, torch.tensor([[1.0], [3.0], [30.0]]), torch.tensor([0, 0, 2]), 0.5)
    assert moved.tolist() == [[1.0], [10.0], [25.0]]


def test_the_average_centre_is_the_mean_of_all_images(features):
    config = SMALL.model_copy(update={"centre": "average"})
    ours = initial_centre(features.split([3, 1]), config, nn.Identity())
    torch.testing.assert_close(ours, features.mean(0))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_losses_and_gradients_equal_the_loop(features, metric):
    torch.manual_seed(3)
    config = SMALL.model_copy(update={"metric": metric})
    head = Head(config, 10)
    head.centre.copy_(torch.randn(10, 24))
    rows = features.flatten(0, 1)
    ours = losses(head, rows, config)
    ours.total.backward()
    gradients = [parameter.grad.clone() for parameter in head.parameters()]
    head.zero_grad()
    theirs = reference.losses(head.projector, head.discriminator, rows, head.centre, metric, config.alpha)
    sum(theirs).backward()
    for one, other in zip((ours.centre, ours.normal, ours.anomaly), theirs, strict=True):
        assert one.item() == pytest.approx(other.item(), rel=1e-5)
    for one, parameter in zip(gradients, head.parameters(), strict=True):
        torch.testing.assert_close(one, parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("how", ["plain", "compiled"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_shortcut_through_the_first_layer_is_exact(features, metric, how, monkeypatch):
    torch.manual_seed(5)
    config = SMALL.model_copy(update={"metric": metric, "discriminator_layers": 3})
    head = Head(config, 10).double()
    head.centre.copy_(torch.randn(10, 24))
    rows = features.flatten(0, 1).double()
    found = []
    step = losses
    for number in range(2):
        if number and how == "plain":
            monkeypatch.setattr(losses_module, "_shortcut", lambda *_: False)
        elif number:
            step = torch.compile(losses, backend="aot_eager")  # as `--compile` does, without a C++ compiler
        head.zero_grad()
        terms = step(head, rows, config)
        terms.total.backward()
        found.append([terms.total.detach(), *(parameter.grad.clone() for parameter in head.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)  # the losses themselves are float32


def test_anomalies_lie_on_the_ray_at_one_distance(features):
    u, c = features[0], features[1]
    away = u - c
    distance = away.norm(dim=1)
    z = synthesise(u, away, distance, distance.mean(), SMALL)
    step = z - u
    torch.testing.assert_close(step.norm(dim=1), torch.full((10,), SMALL.alpha * distance.mean().item()))
    torch.testing.assert_close(torch.cosine_similarity(step, away), torch.ones(10))


def test_a_feature_on_its_centre_gives_no_nan():
    head = Head(SMALL, 3)
    rows = torch.randn(5, 24)
    with torch.no_grad():
        head.centre.copy_(head.projector(rows)[:3])
    terms = losses(head, rows[:3], SMALL)
    terms.total.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())


def test_gradient_through_the_step_is_an_option(features):
    torch.manual_seed(4)
    head = Head(SMALL, 10)
    head.centre.copy_(torch.randn(10, 24))
    grads = []
    for detach in (True, False):
        head.zero_grad()
        losses(head, features.flatten(0, 1), SMALL.model_copy(update={"detach_synthesis": detach})).total.backward()
        grads.append(head.projector.weight.grad.clone())
    assert not torch.allclose(*grads)


def test_noise_depends_on_its_generator_alone(features):
    config = SMALL.model_copy(update={"synthesis": "noise"})
    u = features[0]
    made = [synthesise(u, u, u[:, 0], u.mean(), config, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert (made[0] - u).std().item() == pytest.approx(config.noise, rel=0.2)


def test_layers_of_the_discriminator():
    kinds = [type(part) for part in FeatureDiscriminator(24, 3, 16)]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU] * 2 + [nn.Linear]
    assert FeatureDiscriminator(24, 2, 16)[-1].bias is None


@pytest.mark.parametrize(("side", "size"), [(8, 64), (9, 70), (32, 256), (5, 40)])
def test_spreading_is_scaling_up_and_smoothing(side, size):
    patches = torch.rand(2, side, side)
    matrix = spreading(side, size, 4.0)
    np.testing.assert_allclose(matrix @ patches @ matrix.T, reference.score_map(patches, size), atol=2e-6)


@pytest.mark.parametrize(("size", "side"), [(256, 32), (288, 36), (100, 13), (64, 8)])
def test_feature_side_is_that_of_the_network(size, side):
    from detectors.data.backbones import load_backbone

    backbone = load_backbone("resnet18", (2, 3), "random")
    with torch.inference_mode():
        assert backbone(torch.zeros(1, 3, size, size))[0].shape[-2:] == (side, side)
    assert feature_side(2, size) == side


def test_presets_differ_as_the_paper_and_the_code_do():
    paper, code = (make_config(preset, "mvtec", "bottle", {}) for preset in ("paper", "reference"))
    assert (paper.size, paper.metric, paper.alpha, paper.epochs, paper.discriminator_layers) == (256, "euclidean", 0.3, 400, 3)
    assert (code.size, code.metric, code.alpha, code.epochs, code.discriminator_layers) == (288, "cosine", 0.25, 640, 2)
    assert code.embedding_length == 1536
    assert make_config("reference", "mvtec", "wood", {}).crop_from == 329
    assert make_config("reference", "mvtec", "wood", {"size": 256}).crop_from == 292
    assert make_config("paper", "mvtec", "wood", {}).crop_from is None


@pytest.mark.parametrize(
    ("preset", "changes", "says"),
    [
        ("papr", {}, "Did you mean 'paper'"),
        ("paper", {"alhpa": 1}, "Did you mean 'alpha'"),
        ("paper", {"alpha": "much"}, "--set alpha"),
        ("paper", {"crop_from": 64}, "smaller than size"),
        ("paper", {"embedding": 7}, "multiple"),
        ("paper", {"backbone": "resnet19"}, "resnet18"),
    ],
)
def test_nonsense_is_refused(preset, changes, says):
    with pytest.raises(UsageError, match=says):
        make_config(preset, "mvtec", "bottle", changes)


def test_scores_are_probabilities_and_distances():
    rows = torch.randn(6, 24)
    head = Head(SMALL, 3).eval()
    assert ((head(rows) > 0) & (head(rows) < 1)).all()
    alone = Head(SMALL.model_copy(update={"synthesis": "none", "metric": "euclidean"}), 3).eval()
    alone.centre.copy_(torch.randn(3, 24))
    assert alone.discriminator is None
    wanted = torch.cdist(alone.projector(rows), alone.centre).amin(1)
    torch.testing.assert_close(alone(rows), wanted, atol=1e-4, rtol=1e-4)
    assert math.isfinite(losses(alone, rows, SMALL).total.item())


def test_half_precision_leaves_scores_apart():
    """A sigmoid of half-precise logits makes most anomalies score exactly 1."""
    torch.manual_seed(0)
    head = Head(SMALL, 10).eval()
    features = torch.randn(2000, 24)
    with torch.no_grad():
        head.discriminator[-1].weight *= 12 / head.discriminator(head.projector(features)).abs().max()
        exact = head(features)
        with torch.autocast("cpu", torch.bfloat16):
            half = head(features)
    assert half.dtype == torch.float32
    assert len(half.unique()) >= 0.9 * len(exact.unique())
    torch.testing.assert_close(half, exact, atol=0.1, rtol=0)
