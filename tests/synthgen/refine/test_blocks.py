"""The fine stage's network: transforms against plain formulas, attention against a loop over pixels, and that it learns."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from synthgen.refine.blocks import PDEWaveAttnBlock, RegionSynergyBlock, boundary_of, haar, laplacian, unhaar
from synthgen.refine.npcfpp import SynergyRefineNet


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def spot(batch, height, width, centre, radius):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    disc = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    return disc.float().expand(batch, 1, height, width).contiguous()


def scene(batch=1, height=32, width=32):
    """Normal, coarse, mask and boundary."""
    normal = draw(batch, 3, height, width)
    mask = spot(batch, height, width, (height // 2, width // 3), 6)
    coarse = torch.where(mask > 0, draw(batch, 3, height, width, seed=1), normal)
    return normal, coarse, mask, boundary_of(mask, 2)


def perturbed(module, seed=0):
    """Every parameter away from its first value, so that zeros and symmetries hide nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return module


def silent(module):
    """Parameters without any gradient."""
    return [name for name, one in module.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]


@pytest.mark.parametrize(("height", "width"), [(7, 9), (1, 5), (2, 2)])
def test_the_laplacian_is_scipys(height, width):
    x = draw(2, 3, height, width, dtype=torch.float64)
    plain = [[ndimage.laplace(plane, mode="nearest") for plane in planes] for planes in x.numpy()]
    np.testing.assert_allclose(laplacian(x).numpy(), plain, atol=1e-12)


def test_the_laplacian_stays_exact_where_the_network_around_it_is_in_bf16():
    x = draw(1, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = laplacian(x)
    assert torch.equal(found, laplacian(x))


def test_haar_is_the_textbook_transform():
    x = draw(2, 3, 6, 10, dtype=torch.float64)
    bands = haar(x)
    assert bands.shape == (2, 12, 3, 5)
    plain = x.numpy()
    for channel in range(3):
        for i in range(3):
            for j in range(5):
                a, b, c, d = plain[1, channel, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].ravel()
                expected = [(a + b + c + d) / 2, (a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2]
                np.testing.assert_allclose(bands[1, channel::3, i, j].numpy(), expected, atol=1e-12)


def test_haar_keeps_energy_and_is_undone_in_both_directions():
    x = draw(2, 3, 8, 6, dtype=torch.float64)
    assert haar(x).square().sum().item() == pytest.approx(x.square().sum().item(), rel=1e-12)
    assert torch.allclose(unhaar(haar(x)), x, atol=1e-14)
    bands = draw(2, 8, 3, 5, dtype=torch.float64)
    assert torch.allclose(haar(unhaar(bands)), bands, atol=1e-14)


def test_haar_puts_lines_where_they_belong():
    stripes = torch.zeros(1, 1, 4, 4)
    stripes[..., ::2, :] = 1  # changes from row to row
    for x, band in ((stripes, 1), (stripes.mT, 2)):
        energy = haar(x).square().sum((0, 2, 3))
        assert energy[[0, band]].gt(0).all()
        assert energy.sum() == energy[[0, band]].sum()


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_the_boundary_is_dilation_without_erosion(radius):
    mask = np.zeros((2, 15, 18), bool)
    mask[0, 3:12, 4:] = True  # as far as the image's border
    mask[1, 7, 2:15] = True
    found = boundary_of(torch.from_numpy(mask)[:, None], radius)
    assert found.dtype == torch.float32
    for plain, boundary in zip(mask, found[:, 0].numpy(), strict=True):
        for y in range(15):
            for x in range(18):
                near = plain[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
                assert boundary[y, x] == (near.any() and not near.all())


def test_masks_without_an_edge_in_the_image_have_no_boundary():
    assert not boundary_of(torch.ones(1, 1, 9, 9), 2).any()
    assert not boundary_of(torch.zeros(1, 1, 9, 9), 2).any()
    with pytest.raises(ValueError, match="radius"):
        boundary_of(torch.zeros(1, 1, 9, 9), -1)


@pytest.mark.parametrize("slope", [-2.0, -0.25, 0.25, 2.0])
def test_signs_sharpen_or_smooth_whatever_is_learned(slope):
    checkerboard = 1.0 - 2.0 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2)
    x = checkerboard.expand(1, 3, 8, 8)
    inner = (..., slice(1, -1), slice(1, -1))
    gains = {}
    for sign in ("free", "paper", "smooth"):
        block = PDEWaveAttnBlock(3, sign)
        with torch.no_grad():
            block.slope.fill_(slope)
            assert torch.allclose(block.diffused(x), x - block.epsilon()[:, None, None] * laplacian(x), atol=1e-6)
            gains[sign] = (block.diffused(x)[inner].square().sum() / x[inner].square().sum()).item()
        assert block.epsilon().abs().max() < 0.2
    assert gains["paper"] > 1 > gains["smooth"]
    assert gains["free"] == pytest.approx(gains["paper" if slope > 0 else "smooth"])


def test_a_free_block_starts_with_mild_smoothing_and_other_signs_are_refused():
    assert (PDEWaveAttnBlock(4).epsilon() > -1 / 8).all()
    assert (PDEWaveAttnBlock(4).epsilon() < 0).all()
    with pytest.raises(ValueError, match="free, paper, smooth"):
        PDEWaveAttnBlock(4, "both")


@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 6), (5, 9), (1, 4), (1, 1)])
def test_a_wavelet_block_starts_as_nothing_and_takes_any_size(height, width):
    block, x = PDEWaveAttnBlock(4), draw(2, 4, height, width)
    assert torch.equal(block(x), x)
    perturbed(block)
    out = block(x)
    assert out.shape == x.shape
    assert not torch.allclose(out, x)
    out.square().sum().backward()
    assert silent(block) == ([] if height > 1 or width > 1 else ["slope"])  # one pixel has no Laplacian


def test_a_wavelet_block_decomposes_what_the_pde_gave():
    block, x = perturbed(PDEWaveAttnBlock(2)).double(), draw(1, 2, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        bands = block.mix(haar(block.diffused(x)))
        weight = block.squeeze(bands)
        assert ((weight > 0) & (weight < 1)).all()
        assert torch.allclose(block(x), x + block.gamma * unhaar(bands * weight))


def naive_synergy(block, normal, anomaly, boundary):
    """Equation 25, one pixel of the boundary at a time; a window is told by its number."""
    normal, anomaly, boundary = (one.numpy() for one in (normal, anomaly, boundary))
    weights = {name: one.detach().numpy() for name, one in block.named_parameters()}
    window, channels = block.window, normal.shape[1]

    def normed(x, which):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * weights[f"{which}_norm.weight"] + weights[f"{which}_norm.bias"]

    out = normal.copy()
    places = list(np.ndindex(normal.shape[2:]))
    number = {place: tuple((one - block.start) // window for one in place) for place in places}
    table = weights["bias"].reshape(2 * window - 1, 2 * window - 1)
    for image, (y, x) in ((image, place) for image in range(len(normal)) for place in places):
        if not boundary[image, 0, y, x]:
            continue
        query = weights["query.weight"] @ normed(normal[image, :, y, x], "normal")
        logits, values = [], []
        for v, u in places:
            if number[v, u] == number[y, x]:
                key, value = np.split(weights["key_value.weight"] @ normed(anomaly[image, :, v, u], "anomaly"), 2)
                logits.append(query @ key / np.sqrt(channels) + table[y - v + window - 1, x - u + window - 1])
                values.append(value)
        attention = np.exp(logits) / np.exp(logits).sum()
        out[image, :, y, x] += weights["gamma"] * (attention @ np.array(values)) * boundary[image, 0, y, x]
    return out


SIZES = [(8, 8), (9, 11), (3, 2), (5, 8)]


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_synergy_is_attention_in_windows(height, width, shifted):
    block = perturbed(RegionSynergyBlock(3, 4, shifted).double())
    normal, anomaly = (draw(2, 3, height, width, seed=seed, dtype=torch.float64) for seed in (0, 1))
    boundary = (draw(2, 1, height, width, seed=2, dtype=torch.float64) > 0.7).double()
    with torch.no_grad():
        found = block(normal, anomaly, boundary)
    np.testing.assert_allclose(found.numpy(), naive_synergy(block, normal, anomaly, boundary), atol=1e-10)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 50), (7, 5)])
def test_only_windows_on_the_boundary_are_computed_and_nothing_else_changes(height, width, shifted):
    block = perturbed(RegionSynergyBlock(8, 8, shifted))
    normal, anomaly = draw(2, 8, height, width), draw(2, 8, height, width, seed=1)
    boundary = boundary_of(spot(2, height, width, (height // 2, width // 2), min(height, width) // 4), 1)
    boundary[0] = 0
    results = []
    for dense in (False, True):
        inputs = [one.clone().requires_grad_() for one in (normal, anomaly)]
        block.zero_grad()
        out = block(*inputs, boundary, dense)
        out.square().sum().backward()
        results.append([out, *(one.grad for one in inputs), *(one.grad for one in block.parameters())])
        assert silent(block) == []
    for sparse, every in zip(*results, strict=True):
        assert torch.allclose(sparse, every, atol=1e-6, rtol=1e-5)
    out = results[0][0]
    assert torch.equal(out[0], normal[0])
    on = (boundary > 0).expand_as(out)
    assert torch.equal(out[~on], normal[~on])
    assert not torch.isclose(out[on], normal[on]).all()


def test_without_a_boundary_the_normal_features_come_back():
    normal = draw(1, 4, 20, 20)
    assert RegionSynergyBlock(4, 8)(normal, draw(1, 4, 20, 20, seed=1), torch.zeros(1, 1, 20, 20)) is normal


@pytest.mark.parametrize("side", [16, 18])
def test_shifted_windows_do_not_reach_around_the_image(side):
    block = perturbed(RegionSynergyBlock(4, 8, shifted=True))
    normal, anomaly = draw(1, 4, side, side), draw(1, 4, side, side, seed=1)
    everywhere = torch.ones(1, 1, side, side)
    with torch.no_grad():
        before = block(normal, anomaly, everywhere)
        anomaly[0, 0, -1, -1] += 5
        moved = (block(normal, anomaly, everywhere) - before).abs().amax((0, 1)) > 1e-6
    last = (side + 4 - 1) // 8 * 8 - 4  # where the last window starts
    expected = torch.zeros(side, side, dtype=torch.bool)
    expected[last:, last:] = True
    assert torch.equal(moved, expected)


@pytest.mark.parametrize(("width", "millions"), [(32, 3.85), (16, 0.967)])
def test_the_network_is_small(width, millions):
    with torch.device("meta"):
        network = SynergyRefineNet(width)
    assert sum(one.numel() for one in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_an_untrained_network_returns_the_coarse_picture():
    torch.manual_seed(0)
    normal, coarse, mask, boundary = scene(2, 32, 44)
    coarse[:, :, :4] = 0
    coarse[:, :, 4:8] = 1
    with torch.inference_mode():
        out = SynergyRefineNet(8, 8)(normal, coarse, mask, boundary)
    assert out.shape == coarse.shape
    assert (out - coarse).abs().max() <= 1 / 255


def test_sizes_and_widths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"30 x 32.*multiples of 4"):
        SynergyRefineNet(8)(*(one[..., :30, :] for one in scene()))
    with pytest.raises(ValueError, match="multiple of 8"):
        SynergyRefineNet(12)


@pytest.mark.parametrize("residual", [True, False])
def test_pictures_do_not_depend_on_their_batch_or_on_windows_off_the_boundary(residual):
    torch.manual_seed(0)
    network = perturbed(SynergyRefineNet(8, 8, residual=residual))
    one, other = scene(), tuple(part.flip(-1) for part in scene())
    both = [torch.cat(pair) for pair in zip(one, other, strict=True)]
    with torch.inference_mode():
        out = network(*both)
        assert torch.allclose(out[:1], network(*one), atol=1e-5)
        assert torch.allclose(out, network(*both, dense=True), atol=1e-5)
    assert out.min() >= 0
    assert out.max() <= 1


def test_a_network_in_bf16_gives_float32_pictures():
    torch.manual_seed(0)
    network = perturbed(SynergyRefineNet(8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        out = network(*scene())
    assert out.dtype == torch.float32
    out.mean().backward()
    assert all(one.grad.isfinite().all() for one in network.parameters())


@pytest.mark.parametrize("residual", [True, False])
def test_every_parameter_is_reached_and_a_small_network_learns(residual):
    torch.manual_seed(0)
    normal, coarse, mask, boundary = scene(2)
    target = torch.where(boundary > 0, 0.5 * coarse, coarse)
    share = torch.where(boundary > 0, 1 / boundary.sum(), 1 / (1 - boundary).sum()) / 3  # the boundary counts like the rest
    network = SynergyRefineNet(8, 8, residual=residual)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses, missed = [], set(dict(network.named_parameters()))
    for _ in range(16):
        optimizer.zero_grad()
        loss = (share * (network(normal, coarse, mask, boundary) - target).abs()).sum()
        loss.backward()
        if len(losses) < 3:  # the zeros at the end, then those of the blocks, let gradients through one after the other
            missed &= set(silent(network))
        optimizer.step()
        losses.append(loss.item())
    assert missed == set()
    assert losses[-1] < 0.7 * losses[0]
