"""PiDiNet: its difference convolutions against their definition, its checkpoints, and the published weights where they are."""

import os
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from synthgen.edges.pidinet import VARIANTS, DifferenceConv, PiDiNet, edge_maps, fold, load_pidinet, normalise
from synthgen.errors import InputDataError, IntegrityError, UsageError

# the outer pixels, clockwise from the upper left, as (row, column) from the centre
CLOCKWISE = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
COMPASS = {"NW": (-1, -1), "N": (-1, 0), "NE": (-1, 1), "W": (0, -1), "E": (0, 1), "SW": (1, -1), "S": (1, 0), "SE": (1, 1)}


def differences(kind, taps, around):
    """One output value: `taps` (3, 3) weigh differences between the pixels of `around` (5, 5)."""

    def pixel(row, column):
        return around[2 + row, 2 + column]

    at = {(row, column): taps[row + 1, column + 1] for row in (-1, 0, 1) for column in (-1, 0, 1)}
    if kind == "cv":
        return sum(weight * pixel(*place) for place, weight in at.items())
    if kind == "cd":
        return sum(weight * (pixel(*place) - pixel(0, 0)) for place, weight in at.items())
    if kind == "ad":
        ring = [*CLOCKWISE, CLOCKWISE[0]]
        return sum(at[place] * (pixel(*place) - pixel(*following)) for place, following in pairwise(ring))
    stored = taps.reshape(9)[1:]
    return sum(w * (pixel(2 * y, 2 * x) - pixel(y, x)) for w, (y, x) in zip(stored, COMPASS.values(), strict=True))


def random_network(width=20, reduced=8, kinds="carv4", seed=0):
    torch.manual_seed(seed)
    return PiDiNet(width, reduced, kinds)


def random_images(count=2, height=40, width=51, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def save(network, path, **more):
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"epoch": 19, "state_dict": state, **more}, path)
    return path


def same(one, other, tolerance=1e-5):
    return all((a - b).abs().max() < tolerance for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", ["cv", "cd", "ad", "rd"])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_folded_kernel_gives_the_weighted_differences(kind, groups):
    rng = np.random.default_rng(3)
    image = rng.normal(size=(3, 9, 8))
    layer = DifferenceConv(3, 6, kind, groups).double()
    found = layer(torch.from_numpy(image)[None])[0].detach().numpy()
    taps = layer.weight.detach().numpy()
    around = np.pad(image, ((0, 0), (2, 2), (2, 2)))
    per_group = 3 // groups
    for output in range(6):
        first = output // (6 // groups) * per_group
        for row in range(9):
            for column in range(8):
                window = around[first : first + per_group, row : row + 5, column : column + 5]
                wanted = sum(differences(kind, *pair) for pair in zip(taps[output], window, strict=True))
                assert abs(found[output, row, column] - wanted) < 1e-12


@pytest.mark.parametrize("kind", ["cd", "ad", "rd"])
def test_differences_see_no_brightness_and_folding_is_linear(kind):
    one, other = torch.randn(2, 4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert fold(one, kind).sum((-1, -2)).abs().max() < 1e-12
    assert torch.allclose(fold(2 * one - other, kind), 2 * fold(one, kind) - fold(other, kind), atol=1e-12)


def test_radial_taps_go_by_their_order_not_by_their_place():
    taps = torch.zeros(1, 1, 3, 3)
    taps[0, 0, 0, 0] = 1
    assert not fold(taps, "rd").any()
    taps[0, 0, 1, 1] = 5
    kernel = fold(taps, "rd")[0, 0]
    assert (kernel[2, 0], kernel[2, 1], kernel.abs().sum()) == (5, -5, 10)


def test_the_kept_kernel_follows_the_weights_and_the_gradient():
    layer = DifferenceConv(3, 4, "cd").eval()
    with torch.inference_mode():
        layer(random_images())
    images = random_images().requires_grad_()
    layer(images).sum().backward()
    assert images.grad.any()
    assert layer.weight.grad is None
    assert layer.kernel() is layer.kernel()
    other = DifferenceConv(3, 4, "cd")
    layer.load_state_dict(other.state_dict())
    assert torch.equal(layer.kernel(), fold(other.weight, "cd"))
    layer.train()
    layer(images).square().sum().backward()
    assert layer.weight.grad.any()
    with torch.no_grad():
        layer.weight += 1
    assert torch.equal(layer.eval().kernel(), fold(layer.weight, "cd"))
    assert layer.double().kernel().dtype == torch.float64
    assert torch.equal(pickle.loads(pickle.dumps(layer)).kernel(), layer.kernel())


@pytest.mark.parametrize("kinds", ["carv4", "baseline"])
@pytest.mark.parametrize("reduced", [8, None])
def test_a_plain_network_gives_the_same_maps(kinds, reduced):
    network = random_network(reduced=reduced, kinds=kinds).eval()
    plain = network.to_plain()
    assert not any(isinstance(module, DifferenceConv) for module in plain.modules())
    assert plain.block1_2.conv1.weight.shape[-1] == (5 if kinds == "carv4" else 3)
    assert list(plain.state_dict()) == list(network.state_dict())
    images = random_images()
    assert same(network(images), plain(images))
    assert any(isinstance(module, DifferenceConv) for module in network.modules())


def test_maps_have_the_images_size_and_values_of_0_to_1():
    network = random_network().eval()
    for height, width in ((8, 8), (8, 33), (47, 20)):
        images = random_images(2, height, width)
        for maps in (network(normalise(images)), edge_maps(network, images)):
            assert [one.shape for one in maps] == [(2, 1, height, width)] * 5
            assert all(one.min() >= 0 and one.max() <= 1 for one in maps)


def test_padding_is_the_images_reflection():
    network = random_network().eval()
    images = random_images(1, 40, 30)
    padded = nn.functional.pad(normalise(images), (16,) * 4, mode="reflect")
    assert same(edge_maps(network, images), [one[..., 16:-16, 16:-16] for one in network(padded)])
    small = random_images(1, 8, 9)
    far = torch.from_numpy(np.pad(normalise(small).numpy(), ((0, 0), (0, 0), (16, 16), (16, 16)), mode="reflect"))
    assert same(edge_maps(network, small), [one[..., 16:-16, 16:-16] for one in network(far)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_saved_and_recognised(variant, tmp_path):
    width, reduced = VARIANTS[variant]
    network = random_network(width, reduced).eval()
    assert len(network.state_dict()) == (47 if reduced is None else 83)
    parameters = {"full": 710149, "small": 183763, "tiny": 84477, "full-l": 611289, "small-l": 158949, "tiny-l": 73369}
    assert sum(value.numel() for value in network.state_dict().values()) == parameters[variant]
    loaded = load_pidinet(save(network, tmp_path / "weights.pth"))
    assert (loaded.width, loaded.reduced, loaded.kinds, loaded.training) == (width, reduced, "carv4", False)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    images = random_images(1, 16, 16)
    assert same(loaded(images), network(images), 1e-7)


def test_a_baseline_is_known_by_its_files_name_or_asked_for(tmp_path):
    network = random_network(kinds="baseline").eval()
    images = random_images()
    named = load_pidinet(save(network, tmp_path / "table5_baseline.pth"))
    asked = load_pidinet(save(network, tmp_path / "other.pth"), kinds="baseline")
    assert same(named(images), network(images), 1e-7)
    assert same(asked(images), network(images), 1e-7)
    assert not same(load_pidinet(tmp_path / "other.pth")(images), network(images), 1e-3)


def test_a_bare_state_dict_loads_too(tmp_path):
    torch.save(random_network().state_dict(), tmp_path / "bare.pth")
    assert load_pidinet(tmp_path / "bare.pth").width == 20


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "weights.pth"

    def problem(error):
        with pytest.raises(error) as caught:
            load_pidinet(path)
        assert str(path) in str(caught.value)
        assert "table5_pidinet" in str(caught.value)
        return str(caught.value)

    assert "no such file" in problem(InputDataError)
    path.write_bytes(b"not weights at all")
    problem(IntegrityError)
    save(random_network(), path)
    path.write_bytes(path.read_bytes()[:-20000])
    assert "cut short" in problem(IntegrityError)
    path.write_bytes(b"")
    problem(IntegrityError)
    torch.save([1, 2], path)
    problem(IntegrityError)
    torch.save({"state_dict": nn.Linear(3, 4).state_dict()}, path)
    assert "another network" in problem(IntegrityError)
    torch.save(random_network().to_plain().state_dict(), path)
    assert "block1_2.conv1.weight" in problem(IntegrityError)
    state = random_network().state_dict()
    del state["classifier.bias"]
    torch.save(state, path)
    assert "classifier.bias" in problem(IntegrityError)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": Harm()}, tmp_path / "weights.pth")
    with pytest.raises(IntegrityError):
        load_pidinet(tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def test_a_device_that_is_not_there_is_named(tmp_path):
    path = save(random_network(), tmp_path / "weights.pth")
    for device in ("cuda:77", "toaster"):
        with pytest.raises(UsageError, match=device):
            load_pidinet(path, device)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "parameters", "means"),
    [
        ("table5_pidinet.pth", 710149, (0.2567, 0.2288, 0.2281, 0.2268, 0.2059)),
        ("table5_pidinet-tiny.pth", 84477, (0.3027, 0.2710, 0.2401, 0.2345, 0.2185)),
    ],
)
def test_real_weights_give_the_reference_codes_maps(name, parameters, means):
    folder = os.environ.get("SYNTHGEN_TEST_DATA")
    if not folder:
        pytest.skip("SYNTHGEN_TEST_DATA is not set")
    network = load_pidinet(Path(folder) / "weights" / name)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        maps = network(normalise(image))
    assert [one.mean().item() for one in maps] == pytest.approx(means, abs=1e-3)
