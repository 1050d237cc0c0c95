"""Generator, discriminator, losses and warps: shapes, formulas against plain ones, what the papers' numbers say."""

import pytest
import torch
from torch.nn import functional

from synthgen.edges.config import PRESETS, GeneratorConfig, make_config
from synthgen.edges.generator import Generator, PatchDiscriminator
from synthgen.edges.losses import EdgeLoss, VggLoss, adversarial_loss, discriminator_loss, matching_loss
from synthgen.edges.pidinet import PiDiNet
from synthgen.edges.warping import spline_matrix, warp, warp_grid
from synthgen.errors import InputDataError, IntegrityError, UsageError


def random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("shape", "millions"), [((64, 4, 9), 182.4), ((64, 3, 9), 45.6), ((32, 3, 6), 7.9), ((16, 3, 4), 1.4)])
def test_the_generator_has_the_published_number_of_weights(shape, millions):
    with torch.device("meta"):
        network = Generator(1, *shape)
    assert sum(one.numel() for one in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize(("width", "millions"), [(64, 5.5), (32, 1.4)])
def test_the_discriminator_has_the_published_number_of_weights(width, millions):
    with torch.device("meta"):
        network = PatchDiscriminator(4, width)
    assert sum(one.numel() for one in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


def test_pictures_have_the_conditions_size_also_where_it_is_not_square():
    torch.manual_seed(0)
    network = Generator(1, 4, 2, 1)
    for height, width in ((32, 32), (32, 48)):
        out = network(torch.zeros(2, 1, height, width))
        assert out.shape == (2, 3, height, width)
        assert out.abs().max() <= 1


def test_a_picture_does_not_depend_on_its_batch():
    torch.manual_seed(0)
    network, x = Generator(1, 4, 2, 1).eval(), torch.rand(3, 1, 32, 32, generator=random())
    with torch.inference_mode():
        assert torch.allclose(network(x)[1], network(x[1:2])[0], atol=1e-5)


def test_the_discriminator_shows_all_its_layers_at_every_scale():
    torch.manual_seed(0)
    judged = PatchDiscriminator(4, 4)(torch.zeros(2, 1, 64, 64), torch.zeros(2, 3, 64, 64))
    assert [len(scale) for scale in judged] == [5, 5]
    assert all(scale[-1].shape[1] == 1 for scale in judged)
    assert judged[0][0].shape[-1] > judged[1][0].shape[-1]


def test_losses_are_what_the_paper_says():
    g = random()
    real = [[torch.rand(2, 3, 8, 8, generator=g) for _ in range(5)] for _ in range(2)]
    fake = [[torch.rand(2, 3, 8, 8, generator=g) for _ in range(5)] for _ in range(2)]
    assert discriminator_loss(real, fake).item() == pytest.approx(
        0.5 * sum(((a[-1] - 1) ** 2).mean().item() + (b[-1] ** 2).mean().item() for a, b in zip(real, fake, strict=True))
    )
    assert adversarial_loss(fake).item() == pytest.approx(sum(((b[-1] - 1) ** 2).mean().item() for b in fake))
    plain = sum(functional.l1_loss(b[j], a[j]).item() for a, b in zip(real, fake, strict=True) for j in range(4))
    assert matching_loss(fake, real).item() == pytest.approx(10 * 0.5 * 1.0 * plain, rel=1e-5)
    ones = [[torch.ones(1, 1, 4, 4)]]
    assert discriminator_loss(ones, [[torch.zeros(1, 1, 4, 4)]]) == 0
    assert adversarial_loss(ones) == 0


def test_the_edge_loss_is_nothing_for_the_same_picture_and_pulls_towards_it(tmp_path):
    torch.manual_seed(0)
    torch.save({"state_dict": PiDiNet(20, 8).state_dict()}, tmp_path / "tiny.pth")
    loss = EdgeLoss(tmp_path / "tiny.pth", torch.device("cpu"))
    real = torch.rand(1, 3, 32, 32, generator=random()) * 2 - 1
    fake = (real * 0.5).requires_grad_()
    assert loss(real, real).item() == pytest.approx(0, abs=1e-5)
    value = loss(fake, real)
    value.backward()
    assert value.item() > 0
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0


def test_vgg_weights_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputDataError, match="vgg19"):
        VggLoss(tmp_path / "none.pth", torch.device("cpu"))
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(IntegrityError, match=r"bad\.pth"):
        VggLoss(tmp_path / "bad.pth", torch.device("cpu"))


def test_the_vgg_loss_takes_torchvisions_weights(tmp_path):
    from torchvision.models import vgg19

    torch.manual_seed(0)
    torch.save(
        {name: value for name, value in vgg19().state_dict().items() if name.startswith("features")}, tmp_path / "vgg.pth"
    )
    loss = VggLoss(tmp_path / "vgg.pth", torch.device("cpu"))
    real = torch.rand(1, 3, 32, 32, generator=random()) * 2 - 1
    assert loss(real, real) == 0
    assert loss(-real, real) > 0


def test_a_spline_without_smoothing_meets_its_points_and_keeps_straight_lines():
    points = torch.cartesian_prod(torch.linspace(-1, 1, 3), torch.linspace(-1, 1, 3))
    size = (33, 49)
    matrix = spline_matrix(points, size, smoothing=0.0)
    values = torch.rand(9, 2, generator=random())
    found = (matrix @ values).reshape(*size, 2)
    for (x, y), value in zip(points.tolist(), values, strict=True):
        assert torch.allclose(found[round((y + 1) / 2 * 32), round((x + 1) / 2 * 48)], value, atol=1e-4)
    straight = (matrix @ (points @ torch.tensor([[1.0, 0.2], [0.3, -1.0]]) + 0.1)).reshape(*size, 2)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 33), torch.linspace(-1, 1, 49), indexing="ij")
    assert torch.allclose(straight, torch.stack([x + 0.3 * y, 0.2 * x - y], -1) + 0.1, atol=1e-4)


def test_warps_bend_both_directions_alike_where_the_picture_is_not_square():
    grid = warp_grid(200, (32, 64), 0.1, random())
    plain = warp_grid(1, (32, 64), 0.0, random())
    moved = (grid - plain).abs().mean((0, 1, 2))
    assert moved[0] == pytest.approx(moved[1].item(), rel=0.2)
    assert (grid - plain).abs().max() <= 0.2 + 0.05  # of the sides -1..1
    corners = (grid - plain)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.abs().mean() < moved.mean() * 2  # half-way between the fixed and the shifted point


def test_a_warp_of_nothing_is_nothing_and_edges_stay_in_place_with_their_picture():
    picture = torch.rand(2, 4, 32, 32, generator=random())
    still = warp(picture, warp_grid(2, (32, 32), 0.1, random(), share=0.0))
    assert torch.allclose(still, picture, atol=2e-2)
    grid = warp_grid(2, (32, 32), 0.1, random(1))
    both = warp(picture, grid)
    assert torch.equal(both[:, :1], warp(picture[:, :1], grid))
    assert not torch.allclose(both, picture, atol=1e-2)


def test_warps_depend_on_their_random_numbers_alone():
    assert torch.equal(warp_grid(3, (32, 32), 0.1, random(5)), warp_grid(3, (32, 32), 0.1, random(5)))
    assert not torch.equal(warp_grid(3, (32, 32), 0.1, random(5)), warp_grid(3, (32, 32), 0.1, random(6)))


def test_settings_survive_json_and_refuse_nonsense():
    for config in PRESETS.values():
        assert GeneratorConfig.from_json(config.to_json()) == config
    assert make_config("cpu", {"steps": "77"}).steps == 77
    assert make_config("paper256", {"steps": "100"}).epochs_of(560) == 10
    assert make_config("paper256", {}).epochs_of(3629) == 300
    for changes, said in [
        ({"stepz": 1}, "Did you mean 'steps'"),
        ({"steps": "many"}, "expected a whole number"),
        ({"size": (100, 128)}, "multiples"),
        ({"perceptual": "lpips"}, "perceptual"),
        ({"batch_size": 0}, "at least 1"),
        ({"warp_amount": 0.9}, "warp_amount"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"steps": 0, "epochs": 0}, "greater than 0"),
    ]:
        with pytest.raises(UsageError, match=said):
            make_config("cpu", changes)
    with pytest.raises(UsageError, match="no such preset"):
        make_config("gpu", {})
