"""Backbones: whose weights they take and whose they refuse, and where their features are kept."""

import pytest
import torch

from detectors.data.backbones import BACKBONES, load_backbone
from detectors.data.feature_cache import FeatureCache
from synthgen.errors import InputDataError, IntegrityError
from synthgen.runs.folder import load_tensors


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet50_2"])
def test_weights_of_torchvisions_keys_are_read(name, tmp_path):
    import torchvision

    torch.manual_seed(5)
    whole = getattr(torchvision.models, name)(weights=None)
    path = tmp_path / "weights.pth"
    torch.save({key: value for key, value in whole.state_dict().items() if not key.startswith(("layer4", "fc"))}, path)
    backbone = load_backbone(name, (2, 3), path)
    image = torch.rand(1, 3, 64, 64)
    kept = {}
    for level in (2, 3):
        getattr(whole, f"layer{level}").register_forward_hook(lambda _, __, out, level=level: kept.update({level: out}))
    with torch.inference_mode():
        whole.eval()(image)
        maps = backbone(image)
    assert torch.equal(maps[0], kept[2])
    assert torch.equal(maps[1], kept[3])
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    backbone.train()
    assert not backbone.training
    with pytest.raises(IntegrityError, match="is missing"):
        load_backbone("resnet50" if name == "resnet18" else "resnet18", (2, 4), path)


def test_broken_weights_and_models_are_never_unpickled(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for content in (pickle.dumps(Evil()), b"", b"PK\x03\x04" + bytes(100)):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match=r"weights\.pth"):
            load_backbone("resnet18", (2, 3), path)
        with pytest.raises(IntegrityError, match=r"weights\.pth"):
            load_tensors(path)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(InputDataError, match="no such file"):
        load_backbone("resnet18", (2, 3), tmp_path / "missing.pth")


def test_without_network_the_error_says_where_weights_can_be_had(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(InputDataError) as caught:
        load_backbone("wide_resnet50_2", (2, 3))
    for said in ("wide_resnet50_2-95faca4d.pth", "95faca4d", "https://", "--weights backbone=PATH", "random"):
        assert said in str(caught.value)
    assert {info.sha256 for info in BACKBONES.values()} >= {"95faca4d", "f37072fd"}


@pytest.mark.parametrize("where", ["device", "host", "disk", "auto"])
def test_features_are_kept_anywhere(where, tmp_path):
    rows = torch.randn(7, 4, 3)
    cache = FeatureCache(7, (4, 3), torch.device("cpu"), where, tmp_path)
    for part in rows.split(3):
        cache.append(part)
    assert torch.equal(cache[torch.tensor([5, 0, 6])], rows[[5, 0, 6]])
    assert torch.equal(cache[slice(2, 4)], rows[2:4])
    cache.close()
    assert not list(tmp_path.iterdir())
