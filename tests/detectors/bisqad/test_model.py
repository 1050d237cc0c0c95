"""BiSQAD's base model against plain loops, derivatives against derivatives, and what a few steps teach it."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch.func import functional_call, jvp

from detectors.bisqad.config import PRESETS, BiSQADConfig, make_config
from detectors.bisqad.losses import criteria
from detectors.bisqad.model import BiSQAD, RealNet, Selected, UNet, anomaly_maps, choose_channels, pooled
from detectors.bisqad.sqe import Estimator
from detectors.data.backbones import load_backbone
from synthgen.errors import UsageError

SMALL = BiSQADConfig(
    size=64, backbone="resnet18", levels=(1, 2), keep=(8, 16), blocks=1, multipliers=(1, 2), residual_channels=8, pool=8
)


def change(**changes):
    return SMALL.model_copy(update=changes)


def made(config, seed=0):
    """A base model that is no longer at its start, where it reconstructs zeros; and its detector."""
    torch.manual_seed(seed)
    base = RealNet(config)
    for unet in base.unets:
        torch.nn.init.normal_(unet.output[-1].weight, std=0.05)
    for norm in base.norms:
        norm.running_mean.uniform_(0, 0.5)
        norm.running_var.uniform_(0.5, 1)
    selected = Selected(load_backbone(config.backbone, config.levels, "random"), config)
    return base.eval(), BiSQAD(selected, base, Estimator(sum(selected.backbone.channels)), config).eval()


def images_of(count, size=64, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 255


def batch_of(config, count=3, seed=0):
    """Features as the backbone's sizes are, clean ones, and masks of which the last is empty."""
    generator = torch.Generator().manual_seed(seed)
    sides = [-(-config.size // 2 ** (level + 1)) for level in config.levels]
    shapes = [(count, channels, side, side) for channels, side in zip(config.channels, sides, strict=True)]
    features, clean = ([torch.randn(shape, generator=generator).relu() for shape in shapes] for _ in range(2))
    masks = torch.rand(count, config.size, config.size, generator=generator) > 0.9
    masks[-1] = False
    return features, clean, masks


@pytest.mark.parametrize(
    ("size", "levels", "keep", "multipliers", "batch"),
    [
        (64, (1, 2, 3, 4), (8, 16, 16, 24), (1, 2, 4), 2),  # the last level has 2 x 2 places, its U-Net 1 x 1
        (96, (1, 2, 3), (64, 12, 256), (1, 2), 1),  # sides of 24, 12 and 6, which have no quarter
        (32, (4,), (9,), (1, 2, 4), 1),  # a single place
        (64, (2, 3), (500, 3), (1,), 2),  # more than there are
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_shapes(size, levels, keep, multipliers, batch, training):
    config = change(size=size, levels=levels, keep=keep, multipliers=multipliers)
    base, detector = made(config)
    features = detector.features(images_of(batch, size))
    assert [level.shape[1] for level in features] == list(config.channels)
    output = base.train(training and batch > 1)(features)
    assert output.logits.shape == (batch, 2, size, size)
    assert [level.shape for level in output.reconstructions] == [level.shape for level in features]
    maps, scores = detector.eval()(images_of(batch, size))
    assert maps.shape == (batch, size, size)
    assert scores.shape == (batch,)
    assert ((maps >= 0) & (maps <= 1)).all()
    assert (scores <= maps.flatten(1).amax(1) + 1e-6).all()


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (6, 3), (8, 8)])
def test_a_unet_takes_any_size_and_starts_at_zero(shape):
    unet = UNet(20, change(multipliers=(1, 2, 4)))
    made_of = unet(torch.randn(2, 20, *shape))
    assert made_of.shape == (2, 20, *shape)
    assert not made_of.any()


def test_scores_do_not_depend_on_the_batch():
    _, detector = made(SMALL)
    images = images_of(5)
    images[3] *= 0.1
    with torch.inference_mode():
        maps, scores = detector(images)
        alone = [detector(image[None]) for image in images]
        shuffled = detector(images[[3, 1, 4, 0, 2]])[1]
    torch.testing.assert_close(torch.cat([one for one, _ in alone]), maps, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([one for _, one in alone]), scores, atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled, scores[[3, 1, 4, 0, 2]], atol=1e-5, rtol=0)


def test_an_image_score_is_the_largest_window_mean():
    _, detector = made(SMALL)
    with torch.inference_mode():
        maps, scores = detector(images_of(2))
    for image, score in zip(maps.double(), scores, strict=True):
        windows = [image[y : y + 8, x : x + 8].mean().item() for y in range(57) for x in range(57)]
        assert score.item() == pytest.approx(max(windows), abs=1e-6)
    assert pooled(maps, 8).shape == (2, 57, 57)


def planted(generator, chosen, side, channels, masks):
    clean = torch.rand(len(masks), channels, side, side, generator=generator)
    changed = clean + 0.5 * torch.rand(clean.shape, generator=generator)  # differs everywhere
    step = masks.shape[-1] // side
    changed[:, chosen] = clean[:, chosen] + 2.0 * masks[:, None, ::step, ::step]
    changed[:, 0] = clean[:, 0]  # differs nowhere
    return clean, changed


def test_selection_finds_planted_channels():
    generator = torch.Generator().manual_seed(1)
    wanted = [[3, 7, 11], [2, 5]]
    batches = []
    for _ in range(3):
        masks = torch.zeros(4, 32, 32)
        masks[:, 8:16, 8:16] = 1
        parts = [planted(generator, w, s, c, masks) for w, s, c in zip(wanted, (16, 8), (12, 6), strict=True)]
        batches.append(([p[0] for p in parts], [p[1] for p in parts], masks))
    assert [index.tolist() for index in choose_channels(batches, (3, 2))] == wanted
    everything = choose_channels(iter(batches), (11, 99))
    assert 0 not in everything[0]  # an unchanging channel comes last
    assert everything[1].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="no batches"):
        choose_channels([], (1,))


def test_selection_equals_the_loop():
    generator = torch.Generator().manual_seed(2)
    masks = (torch.rand(3, 16, 16, generator=generator) > 0.7).to(torch.uint8)
    clean, other = torch.rand(2, 3, 9, 8, 8, generator=generator).unbind()
    errors = []
    for channel in range(9):
        difference = (other[:, channel] - clean[:, channel]).double().numpy() ** 2
        difference = (difference - difference.min()) / (difference.max() - difference.min())
        errors.append(float(((difference - masks[:, ::2, ::2].numpy()) ** 2).mean()))
    index = choose_channels([([clean], [other], masks)], (4,))[0]
    assert index.tolist() == sorted(np.argsort(errors)[:4].tolist())


def test_the_choice_is_part_of_the_state():
    backbone = load_backbone("resnet18", (1, 2), "random")
    first, second = Selected(backbone, SMALL), Selected(backbone, SMALL)
    index = [torch.arange(8) * 7, torch.arange(16) + 100]
    first.select(index)
    second.load_state_dict(first.state_dict())
    images = images_of(1)
    whole = second.all_channels(images)
    for level, selected, wanted in zip(whole, second(images), index, strict=True):
        assert torch.equal(selected, level[:, wanted])
    assert not any(parameter.requires_grad for parameter in second.parameters())


def test_criteria_equal_plain_loops():
    base, _ = made(SMALL)
    features, clean, masks = batch_of(SMALL)
    output = base(features)
    terms = criteria(output, clean, masks)
    logits = output.logits.detach().double().numpy()
    for i in range(len(masks)):
        pixel, marked = [], []
        for y in range(64):
            for x in range(64):
                normal, anomalous = logits[i, :, y, x]
                against = normal - anomalous if masks[i, y, x] else anomalous - normal
                pixel.append(math.log1p(math.exp(against)))
                if masks[i, y, x]:
                    marked.append(pixel[-1])
        error = sum(
            float(((one[i] - other[i]).detach().double().numpy() ** 2).mean())
            for one, other in zip(output.reconstructions, clean, strict=True)
        )
        assert terms.pixel[i].item() == pytest.approx(np.mean(pixel), rel=1e-5)
        assert terms.anomaly[i].item() == pytest.approx(np.mean(marked) if marked else 0.0, rel=1e-5)
        assert terms.reconstruction[i].item() == pytest.approx(error, rel=1e-5)
        assert terms.total[i].item() == pytest.approx(np.mean(pixel) + error, rel=1e-5)
    assert terms.anomaly[-1] == 0


def test_residuals_are_the_largest_in_descending_order():
    base, _ = made(SMALL)
    features, *_ = batch_of(SMALL)
    with torch.inference_mode():
        reconstructions = base(features).reconstructions
        chosen = base._residuals(features, reconstructions)
    parts = []
    for norm, level, reconstruction in zip(base.norms, features, reconstructions, strict=True):
        part = (level - reconstruction) ** 2
        part = (part - norm.running_mean[:, None, None]) / torch.sqrt(norm.running_var + norm.eps)[:, None, None]
        parts.append(torch.nn.functional.interpolate(part, size=(16, 16), mode="bilinear"))
    everything = torch.cat(parts, 1)
    for image, ours in zip(everything, chosen, strict=True):
        for half, values in ((ours[:8], image.amax((1, 2))), (ours[8:], image.mean((1, 2)))):
            wanted = sorted(range(len(image)), key=lambda channel, by=values: -by[channel].item())[:8]
            torch.testing.assert_close(half, image[wanted], atol=1e-5, rtol=1e-5)


def test_gradient_reaches_everything():
    base, _ = made(SMALL)
    features, clean, masks = batch_of(SMALL)
    criteria(base.train()(features), clean, masks).pixel.mean().backward()  # through the choice of residuals alone
    for name, parameter in base.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_forward_derivatives_equal_backward_ones_and_differences():
    config = change(levels=(1, 2, 3), keep=(8, 16, 8), multipliers=(1, 2, 4))
    base = made(config)[0].double()
    features, clean, masks = batch_of(config)
    features, clean = [[level.double() for level in levels] for levels in (features, clean)]
    parameters = {name: value.detach() for name, value in base.named_parameters()}
    buffers = dict(base.named_buffers())
    torch.manual_seed(1)
    along = {name: torch.randn_like(value) for name, value in parameters.items()}

    def losses(values):
        return criteria(functional_call(base, (values, buffers), (features,)), clean, masks).total

    before = {name: value.clone() for name, value in buffers.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about what PyTorch itself calls
        value, derivative = jvp(losses, (parameters,), (along,))
    torch.testing.assert_close(value, losses(parameters))
    assert all(torch.equal(value, before[name]) for name, value in buffers.items())
    step = 1e-6
    up, down = (losses({name: v + sign * step * along[name] for name, v in parameters.items()}) for sign in (1, -1))
    torch.testing.assert_close(derivative, (up - down) / (2 * step), rtol=1e-5, atol=1e-7)
    tracked = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    for number, loss in enumerate(losses(tracked)):
        gradients = torch.autograd.grad(loss, list(tracked.values()), retain_graph=True)
        product = sum((one * other).sum() for one, other in zip(gradients, along.values(), strict=True))
        torch.testing.assert_close(derivative[number], product, rtol=1e-9, atol=1e-9)


def test_some_steps_separate_anomalies():
    torch.manual_seed(0)
    config = change(keep=(16, 16))
    base = RealNet(config)
    selected = Selected(load_backbone("resnet18", config.levels, "random"), config)
    detector = BiSQAD(selected, base, Estimator(sum(selected.backbone.channels)), config)
    generator = torch.Generator().manual_seed(3)

    def toy(count):
        clean = (100 + 20 * torch.randn(count, 3, 64, 64, generator=generator)).clamp(0, 255)
        masks = torch.zeros(count, 64, 64)
        for number in range(0, count, 2):  # every other one has a bright square
            y, x = torch.randint(4, 40, (2,), generator=generator).tolist()
            masks[number, y : y + 18, x : x + 18] = 1
        return clean, torch.lerp(clean, torch.full_like(clean, 230), masks[:, None]), masks

    optimizer = torch.optim.Adam(base.parameters(), 3e-3)
    totals = []
    for _ in range(30):
        clean, images, masks = toy(6)
        with torch.no_grad():
            wanted, features = selected(clean), selected(images)
        terms = criteria(base.train()(features), wanted, masks)
        optimizer.zero_grad()
        terms.total.mean().backward()
        optimizer.step()
        totals.append(terms.total.mean().item())
    assert np.mean(totals[-5:]) < 0.5 * np.mean(totals[:5])
    _, images, masks = toy(12)
    with torch.inference_mode():
        maps, scores = detector.eval()(images)
    assert scores[::2].min() > scores[1::2].max()
    assert maps[masks > 0].mean() > 3 * maps[masks == 0].mean()


def test_low_precision_keeps_losses_and_logits_whole():
    base, _ = made(SMALL)
    features, clean, masks = batch_of(SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        output = base([level.bfloat16() for level in features])
        terms = criteria(output, [level.half() for level in clean], masks)
    assert output.logits.dtype == terms.total.dtype == torch.float32
    whole = criteria(base(features), clean, masks)
    torch.testing.assert_close(terms.total, whole.total, rtol=0.05, atol=0.02)


def test_export_gives_what_pytorch_gives(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    _, detector = made(SMALL)
    detector.features.select([torch.arange(count) * 2 for count in SMALL.channels])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own internals
        program = torch.onnx.export(
            detector,
            (images_of(2),),
            dynamo=True,
            input_names=["image"],
            output_names=["map", "score"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=4096)}},
            verbose=False,
        )
    path = tmp_path / "model.onnx"
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        images = images_of(count, seed=count)
        maps, scores = session.run(None, {"image": images.numpy()})
        with torch.inference_mode():
            wanted = detector(images)
        np.testing.assert_allclose(maps, wanted[0], atol=1e-3)
        np.testing.assert_allclose(scores, wanted[1], atol=1e-3)


def test_maps_are_the_softmax():
    logits = torch.tensor([0.0, math.log(3.0)]).reshape(1, 2, 1, 1)
    assert anomaly_maps(logits).item() == pytest.approx(0.75)


def test_presets():
    lite, full, paper = (make_config(preset, "mvtec", "bottle", {}) for preset in PRESETS)
    assert (lite.backbone, lite.channels) == ("resnet18", (64, 128, 256, 128))
    assert (full.backbone, full.channels) == ("wide_resnet50_2", (256, 512, 512, 256))
    assert (paper.channels, paper.sqe_target, paper.loss_scaling, paper.outer_every) == (full.channels, "easy", "minmax", 1)
    assert make_config("lite", "mvtec", "bottle", {"backbone": "resnet50"}).channels == (128, 256, 256, 128)


@pytest.mark.parametrize(
    ("changes", "keep"),
    [
        ({"levels": [1, 2, 3]}, (128, 256, 256)),
        ({"levels": [1, 4]}, (128, 128)),
    ],
)
def test_channels_follow_levels(changes, keep):
    config = make_config("lite", "mvtec", "bottle", changes)
    assert config.keep == keep
    assert BiSQADConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("preset", "changes", "says"),
    [
        ("light", {}, "Did you mean 'lite'"),
        ("lite", {"kep": 1}, "Did you mean 'keep'"),
        ("lite", {"learning_rate": "fast"}, "--set learning_rate"),
        ("lite", {"size": 100}, "multiple of 32"),
        ("lite", {"levels": [2, 1]}, "ascending"),
        ("lite", {"levels": [5]}, "--set levels"),
        ("lite", {"keep": [8]}, "as many"),
        ("lite", {"size": 64, "pool": 65}, "larger than size"),
        ("lite", {"sqe_target": "hard"}, "easy"),
        ("lite", {"backbone": "resnet19"}, "resnet18"),
    ],
)
def test_nonsense_is_refused(preset, changes, says):
    with pytest.raises(UsageError, match=says):
        make_config(preset, "mvtec", "bottle", changes)
