"""Ranges are tried on defects that they were not fitted to."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import detectors.real.fitting as fitting  # noqa: E402  needs torch
from detectors.data.backbones import load_backbone  # noqa: E402
from detectors.real.worth.head import LEVELS  # noqa: E402
from synthgen.anomalies.registry import TYPES  # noqa: E402
from synthgen.fitting.fit import fit_types  # noqa: E402
from tests.synthgen.fitting.test_fit import line, photographs, prepared  # noqa: E402


def checked(monkeypatch, objects):
    monkeypatch.setattr(fitting, "_SAMPLES", 6)
    monkeypatch.setattr(fitting, "_STEPS", 2)
    monkeypatch.setattr(fitting, "_SEEDS", (0,))
    marked, settings = photographs([line(k, 2) for k in range(6)]), {"crack": TYPES["crack"].configure()}
    fitted = fit_types(marked, prepared(), settings)
    assert fitted["crack"].ranges
    backbone = load_backbone("resnet18", LEVELS, "random")
    device = torch.device("cpu")
    return fitting.check_types(fitted, marked, objects, prepared(), settings, backbone=backbone, device=device)["crack"]


def test_halves_of_the_defects_try_each_other(monkeypatch):
    check = checked(monkeypatch, list(range(6)))
    assert check.told
    assert 0 <= check.before <= 1
    assert 0 <= check.after <= 1
    assert check.helps == (check.after > check.before)
    assert ("do not help" in check.reason) != check.helps


def test_one_object_has_no_halves(monkeypatch):
    check = checked(monkeypatch, [0] * 6)
    assert (check.told, check.helps) == (False, False)
    assert "too few objects" in check.reason
    assert np.isnan(check.after)
