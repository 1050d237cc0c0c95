"""Files of runs."""

import torch

from synthgen.runs.folder import load_tensors, save_tensors


def test_tensors_keep_their_state(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": torch.arange(6).reshape(2, 3).T}, {"epoch": 3, "best": None})
    tensors, state = load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(tensors["a"], torch.arange(6).reshape(2, 3).T)
    assert state == {"epoch": 3, "best": None}
