"""The coarse network, its losses against plain references, and what its settings and weights may be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from synthgen.errors import InputDataError, IntegrityError, UsageError
from synthgen.refine.batches import Crops, Cut, RefinementBatch, cuts, padded
from synthgen.refine.config import PRESETS, NpcfConfig, NpcfppConfig, config_from_json, make_config
from synthgen.refine.features import choose_network, load_features
from synthgen.refine.losses import allen_cahn, npcf_terms, npcfpp_terms, phase
from synthgen.refine.npcf import Encoder, Npcf, composed, feathered
from synthgen.refine.phase_field import epsilon_squared, solve
from synthgen.samples import Sample, SampleSpec


def batch(count=2, side=32, seed=0):
    """Noise with a square of another colour, whose place differs from picture to picture."""
    rng = np.random.default_rng(seed)
    normal = rng.uniform(-0.8, 0.8, (count, 3, side, side)).astype(np.float32)
    mask = np.zeros((count, 1, side, side), np.float32)
    for k in range(count):
        mask[k, 0, 6 + k : 14 + 2 * k, 9:20] = 1
    stage_a = np.where(mask > 0, normal * 0.3 - 0.5, normal).astype(np.float32)
    squares = np.stack([epsilon_squared(one[0].astype(np.uint8))[None] for one in mask])
    return RefinementBatch(*map(torch.from_numpy, (normal, stage_a, mask, squares)), 1.0)


def mean_within(values, mask):
    """Mean over channels and mask pixels of each picture, then over pictures, in plain loops."""
    return np.mean([values[k][:, mask[k, 0] > 0].mean() for k in range(len(values))])


def test_losses_are_the_papers_equations():
    b = batch()
    rng = np.random.default_rng(1)
    u = torch.from_numpy(rng.uniform(-1, 1, b.normal.shape).astype(np.float32))
    x, z, m, squares = (t.numpy() for t in (b.normal, b.stage_a, b.mask, b.squares))
    config = NpcfConfig(anomaly=1, pde=1, tv=1, colour=1)
    terms = {name: float(value) for name, value in npcf_terms(u, b, config, None).items()}
    v = u.numpy()
    assert terms["normal"] == pytest.approx(mean_within((v - x) ** 2, 1 - m), rel=1e-5)
    assert terms["anomaly"] == pytest.approx(mean_within((v - x) ** 2, m), rel=1e-5)
    assert terms["colour"] == pytest.approx(mean_within((v - z) ** 2, m), rel=1e-5)
    way = z - x
    phi = 2 * np.clip(((v - x) * way).sum(1) / ((way**2).sum(1) + 1e-3), 0, 1) - 1
    five = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
    fidelity = 0.75 * (phi - (2 * m[:, 0] - 1))
    residual = np.stack(
        [s[0] * ndimage.convolve(f, five, mode="nearest") - (f**3 - f) for f, s in zip(phi, squares, strict=True)]
    )
    assert terms["pde"] == pytest.approx(mean_within((residual - fidelity)[:, None] ** 2, m), rel=1e-4)
    around = ndimage.maximum_filter(m, (1, 1, 5, 5))
    steps = np.zeros_like(v)
    steps[..., :-1] += np.abs(np.diff(v, axis=3))
    steps[..., :-1, :] += np.abs(np.diff(v, axis=2))
    assert terms["tv"] == pytest.approx(mean_within(steps, around), rel=1e-5)


def test_the_papers_print_is_available_by_name():
    b = batch()
    u = torch.from_numpy(np.random.default_rng(1).uniform(-1, 1, b.normal.shape).astype(np.float32))
    v, x, z, m = (t.numpy() for t in (u, b.normal, b.stage_a, b.mask))
    config = make_config("npcf", "paper", {"anomaly": 1, "pde": 1, "tv": 1, "colour": 1, "epsilon2": 2.0})
    terms = {name: float(value) for name, value in npcf_terms(u, b, config, None).items()}
    assert terms["normal"] == pytest.approx((((v - x) * (1 - m)) ** 2).mean(), rel=1e-5)
    assert terms["anomaly"] == pytest.approx((((v - x) * m) ** 2).mean(), rel=1e-5)
    assert terms["colour"] == pytest.approx(((v * m - z) ** 2).mean(), rel=1e-5)
    laplacian = np.stack([[ndimage.laplace(c, mode="nearest") for c in one] for one in v])
    assert terms["pde"] == pytest.approx((((2 * laplacian - (v**3 - v)) * m) ** 2).mean(), rel=1e-4)
    features = lambda pictures: [pictures[:, :1], pictures.abs()]  # noqa: E731
    perceptual = npcf_terms(u, b, replace(config, perceptual=1.0), features)["perceptual"]
    want = ((v - x) ** 2 * m)[:, :1].mean() / 2 + ((np.abs(v) - np.abs(x)) ** 2 * m).mean() / 2
    assert float(perceptual) == pytest.approx(want, rel=1e-5)


def test_the_blend_is_what_the_colour_terms_ask_for():
    b = batch()
    config = NpcfConfig(anomaly=0.5, colour=1.5, pde=0, tv=0)
    share = config.colour / (config.anomaly + config.colour)
    best = b.normal + share * (b.stage_a - b.normal)

    def loss(u):
        return float(sum(npcf_terms(u, b, config, None).values()))

    for other in (b.normal, b.stage_a, best + 0.01, best - 0.01):
        assert loss(best) < loss(other)


def test_the_printed_equation_prefers_black_and_white_and_the_phase_does_not():
    gray, black = torch.zeros(1, 1, 8, 8) + 0.2, -torch.ones(1, 1, 8, 8)
    assert float(allen_cahn(black, 1.0).square().mean()) == 0
    assert float(allen_cahn(gray, 1.0).square().mean()) > 0.03
    b = batch()
    inner = phase(b.stage_a, b.normal, b.stage_a)[b.mask > 0]
    assert float(inner.min()) > 0.9


def test_the_phase_term_wants_the_phase_field_and_without_fidelity_it_wants_nothing():
    b = batch(side=48)
    phi = np.stack([solve(one[0].numpy().astype(np.uint8)) for one in b.mask])
    smooth = b.normal + torch.from_numpy((phi + 1) / 2)[:, None] * (b.stage_a - b.normal)

    def pde(u, config):
        return float(npcf_terms(u, b, config, None)["pde"])

    config = NpcfConfig(pde=1)
    # around the mask stage A is the normal image, so that a step is left there
    assert pde(smooth, config) < 0.5 * pde(b.normal, config) < 0.5 * pde(b.stage_a, config)
    assert pde(b.normal, replace(config, fidelity=0)) == 0


def test_npcfpp_losses_are_the_papers_equations():
    b = batch()
    rng = np.random.default_rng(2)
    u, coarse = (torch.from_numpy(rng.uniform(0, 1, b.normal.shape).astype(np.float32)) for _ in range(2))
    v, c, x, z, m = (t.numpy() for t in (u, coarse, (b.normal + 1) / 2, (b.stage_a + 1) / 2, b.mask))
    config = NpcfppConfig(beta=2, delta=0.5, wave=1)
    terms = {name: float(value) for name, value in npcfpp_terms(u, coarse, b, config).items()}
    assert terms["normal"] == pytest.approx(mean_within(np.abs(v - x), 1 - m), rel=1e-5)
    assert terms["anomaly"] == pytest.approx(2 * mean_within(np.abs(v - c), m), rel=1e-5)
    assert terms["pull"] == pytest.approx(2 * 0.5 * ((v - x) ** 2).mean(), rel=1e-5)

    def fine(picture, k):
        values = np.stack([np.abs(ndimage.laplace(one, mode="nearest")) for one in picture[k]])
        return values[:, m[k, 0] > 0].mean()

    want = np.mean([abs(fine(v, k) - fine(z, k)) for k in range(2)])
    assert terms["wave"] == pytest.approx(want, rel=1e-4)
    printed = npcfpp_terms(u, coarse, b, replace(config, wave_target="none"))["wave"]
    assert float(printed) == pytest.approx(np.mean([fine(v, k) for k in range(2)]), rel=1e-4)


def test_an_anomaly_without_a_pixel_costs_nothing():
    b = batch()
    empty = replace(b, mask=torch.zeros_like(b.mask), stage_a=b.normal)
    for terms in (
        npcf_terms(b.normal, empty, NpcfConfig(), None),
        npcfpp_terms((b.normal + 1) / 2, b.mask, empty, NpcfppConfig()),
    ):
        assert all(torch.isfinite(value) for value in terms.values())
        assert float(terms["anomaly"]) == 0


@pytest.mark.parametrize("takes_stage_a", [True, False])
def test_an_untrained_residual_network_gives_stage_a(takes_stage_a):
    torch.manual_seed(0)
    network = Npcf("resnet18", takes_stage_a).eval()
    b = batch()
    soft = feathered(b.mask, 3, 2)
    torch.testing.assert_close(network(b.normal, b.stage_a, soft), b.stage_a)


def test_normal_pixels_stay_whatever_the_weights_say():
    torch.manual_seed(0)
    network = Npcf("resnet18").eval()
    torch.nn.init.normal_(network.head.weight)
    b = batch(side=64)
    soft = feathered(b.mask, 3, 2)
    u = network(b.normal, b.stage_a, soft)
    far = (soft == 0).expand_as(u)
    assert far.any()
    torch.testing.assert_close(u[far], b.stage_a[far], rtol=0, atol=0)
    assert not torch.equal(u, b.stage_a)
    literal = Npcf("resnet18", residual=False).eval()
    whole = composed(literal(b.normal, b.stage_a, soft), b.normal, soft)
    torch.testing.assert_close(whole[far], b.normal[far], rtol=0, atol=0)


def test_feathering_agrees_with_scipy():
    mask = torch.zeros(1, 1, 41, 50)
    mask[0, 0, 18:22, 20:27] = 1
    wide = ndimage.maximum_filter(mask[0, 0].numpy(), 7)
    want = ndimage.gaussian_filter(wide, 2.0, truncate=3.0, mode="nearest")
    np.testing.assert_allclose(feathered(mask, 3, 2)[0, 0].numpy(), want, atol=1e-5)


def test_the_encoder_takes_torchvisions_weights_and_no_others(tmp_path):
    import torchvision

    torch.manual_seed(0)
    whole = torchvision.models.resnet18(weights=None)
    good = tmp_path / "resnet18.pth"
    torch.save(whole.state_dict(), good)
    alone, both = Encoder("resnet18", 3), Encoder("resnet18", 6)
    alone.load_pretrained(good)
    both.load_pretrained(good)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    for one, other in zip(alone(x), both(torch.cat([x, x], 1)), strict=True):  # the same image twice: the same features
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    whole.eval()
    stem = whole.relu(whole.bn1(whole.conv1(((x + 1) / 2 - mean) / deviation)))
    torch.testing.assert_close(alone(x)[0], stem)
    assert not any(part.training for part in Npcf("resnet18").train().encoder.modules())
    bad = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, bad)
    with pytest.raises(IntegrityError, match=r"other\.pth.*not weights of the encoder"):
        alone.load_pretrained(bad)
    with pytest.raises(IntegrityError, match="backbone"):
        Encoder("wide_resnet50_2", 3).load_pretrained(good)
    with pytest.raises(InputDataError, match="no such file"):
        alone.load_pretrained(tmp_path / "none.pth")


def test_perceptual_networks_are_chosen_by_the_weights_there_are(tmp_path):
    import torchvision

    torch.manual_seed(0)
    encoder, vgg = tmp_path / "resnet18.pth", tmp_path / "vgg16.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), encoder)
    state = torchvision.models.vgg16(weights=None).features[:17].state_dict()
    torch.save({f"features.{name}": value for name, value in state.items()}, vgg)
    config = NpcfConfig(backbone="resnet18")
    assert choose_network(config, {}).perc_network == "none"
    assert load_features(choose_network(config, {}), {}) is None
    assert choose_network(config, {"encoder": encoder}).perc_network == "encoder"
    assert choose_network(config, {"encoder": encoder, "vgg16": vgg}).perc_network == "vgg16"
    with pytest.raises(UsageError, match="--weights vgg16=FILE"):
        choose_network(replace(config, perc_network="vgg16"), {"encoder": encoder})
    with pytest.raises(IntegrityError, match="not torchvision's VGG-16"):
        load_features(replace(config, perc_network="vgg16"), {"vgg16": encoder})
    b = batch(side=32)
    for name, weights in (("encoder", encoder), ("vgg16", vgg)):
        features = load_features(replace(config, perc_network=name), {name: weights})
        terms = npcf_terms(b.stage_a, b, replace(config, perc_network=name, perceptual=1.0), features)
        assert float(terms["perceptual"]) > 0
        same = npcf_terms(b.stage_a, b, replace(config, perc_target="stage-a"), features)
        assert float(same["perceptual"]) == 0


@pytest.mark.parametrize(
    ("model", "changes", "told"),
    [
        ("npcf", {"pde_space": "hsv"}, "expected one of phase, rgb"),
        ("npcf", {"pde_spase": "rgb"}, "no such setting. Did you mean"),
        ("npcf", {"steps": "many"}, "whole number"),
        ("npcf", {"steps": "0"}, "one of them must be greater than 0"),
        ("npcf", {"residual": "maybe"}, "true or false"),
        ("npcf", {"crop": "100"}, "multiple of 32"),
        ("npcf", {"backbone": "vgg16"}, "wide_resnet50_2, resnet18"),
        ("npcf", {"learning_rate": "2"}, "learning_rate"),
        ("npcf", {"tv": "-1"}, "from 0 on"),
        ("npcf++", {"width": "12"}, "multiple of 8"),
        ("npcf++", {"pde_space": "rgb"}, "no such setting"),
        ("npcf++", {"whole_share": "1.5"}, "from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense_are_named(model, changes, told):
    with pytest.raises(UsageError, match=told):
        make_config(model, "cpu", changes)


def test_presets_survive_json_and_settings_are_converted():
    for model, presets in PRESETS.items():
        for name, config in presets.items():
            assert config_from_json(model, config.to_json()) == config
            assert make_config(model, name, {}) == config
    config = make_config("npcf", "cpu", {"epochs": "3", "residual": "no", "tv": "0.5"})
    assert (config.steps, config.steps_of(10), config.residual, config.tv) == (0, 9, False, 0.5)
    with pytest.raises(UsageError, match="no such preset"):
        make_config("npcf", "gpu", {})


def sample(side=(70, 90), place=(40, 50)):
    normal = np.random.default_rng(0).integers(0, 256, (*side, 3), dtype=np.uint8)
    mask = np.zeros(side, np.uint8)
    mask[place[0] : place[0] + 5, place[1] : place[1] + 5] = 1
    image = normal.copy()
    image[mask > 0] = 255 - image[mask > 0]
    spec = SampleSpec(
        sample_id="d/c/s/crack/0",
        dataset="d",
        category="c",
        source="s",
        type="crack",
        replica=0,
        size=side,
        generator="crack 1",
    )
    return Sample(
        spec=spec,
        image=image,
        mask=mask,
        normal=normal,
        box=(40, 50, 45, 55),
        params={},
        attempt=0,
        area=25,
        contrast=50.0,
        visible=1.0,
        source_sha256="0" * 64,
    )


def test_crops_show_the_anomaly_and_depend_on_the_step_alone():
    samples = [sample(), sample(place=(0, 0)), sample(place=(65, 85))]
    crops = Crops(samples, 32, 1.0, 7)
    seen = set()
    for number in range(3):
        for step in range(6):
            both, mask, squares = crops[Cut(number, step, 0, False)]
            assert both.shape == (32, 32, 6)
            assert mask.shape == squares.shape == (32, 32)
            assert mask.any()
            again = Crops(samples, 32, 1.0, 7)[Cut(number, step, 0, False)]
            np.testing.assert_array_equal(both, again[0])
            np.testing.assert_array_equal((both[..., :3] != both[..., 3:]).any(2) & (mask > 0), mask > 0)
            seen.add(both.tobytes())
    assert len(seen) > 7  # a window at the border has nowhere to go
    both, mask, _ = crops[Cut(0, 0, 0, True)]
    assert both.shape == (96, 96, 6)
    np.testing.assert_array_equal(both[:70, :90, 3:], samples[0].image)
    small = Crops([sample((20, 24), (4, 4))], 64, 1.0, 0)[Cut(0, 0, 0, False)]
    assert small[0].shape == (64, 64, 6)


def test_each_pass_takes_every_sample_once_and_processes_share_a_step():
    config = replace(PRESETS["npcf"]["cpu"], batch_size=4)
    steps = list(cuts(config, 10, (64, 64), 3, range(5)))
    taken = [cut.sample for step in steps for cut in step]
    assert sorted(taken[:10]) == sorted(taken[10:]) == list(range(10))
    assert list(cuts(config, 10, (64, 64), 3, range(2, 5))) == steps[2:]
    halves = [list(cuts(config, 10, (64, 64), 3, range(5), (rank, 2))) for rank in range(2)]
    for step, one, other in zip(steps, *halves, strict=True):
        assert {cut.slot: cut for cut in one + other} == {cut.slot: cut for cut in step}
    mixed = replace(config, whole_share=0.5, batch_size=16, crop=32)
    counts = {cut[0].whole: len(cut) for cut in cuts(mixed, 10, (64, 64), 3, range(40))}
    assert counts == {True: 4, False: 16}


def test_padding_repeats_the_picture_and_handles_less_than_itself():
    tiny = np.arange(12, dtype=np.uint8).reshape(3, 4)
    wide = padded(tiny, (32, 32))
    assert wide.shape == (32, 32)
    np.testing.assert_array_equal(wide[:3, :4], tiny)
    np.testing.assert_array_equal(wide[3:6, :4], tiny[::-1])
