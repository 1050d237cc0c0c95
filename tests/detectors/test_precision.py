"""What the last digits of scores depend on is computed in float32, autocast or not."""

import pytest
import torch

from detectors.bisqad.sqe import Estimator
from detectors.pbas.model import Head
from tests.detectors.bisqad import test_model as bisqad
from tests.detectors.logical import test_model as logical
from tests.detectors.pbas.test_pbas import SMALL


def pbas_head():
    head = Head(SMALL, 10).eval()
    return head.discriminator[-1], lambda: head(torch.randn(20, 24))


def bisqad_decoder():
    base, _ = bisqad.made(bisqad.SMALL)
    features, *_ = bisqad.batch_of(bisqad.SMALL)
    return base.decoder[-1], lambda: base(features).logits


def bisqad_estimator():
    estimator = Estimator(8).eval()
    return estimator.layer, lambda: estimator(torch.randn(20, 8))


def logical_localization():
    model = logical.tiny().eval()
    return model.localization.head, lambda: model(255 * torch.rand(2, 3, 32, 64))[0]


@pytest.mark.parametrize("make", [pbas_head, bisqad_decoder, bisqad_estimator, logical_localization])
def test_the_last_layer_and_the_scores_are_float32_under_autocast(make):
    torch.manual_seed(0)
    layer, score = make()
    types = []
    layer.register_forward_hook(lambda _, inputs, output: types.extend([inputs[0].dtype, output.dtype]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = score()
    assert types
    assert {*types, scores.dtype} == {torch.float32}
