"""Files of runs."""

import pytest
import torch
from safetensors.torch import save_file

from synthgen.errors import IntegrityError
from synthgen.runs.folder import load_tensors, save_tensors


def test_tensors_keep_their_state(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": torch.arange(6).reshape(2, 3).T}, {"epoch": 3, "best": None})
    tensors, state = load_tensors(tmp_path / "x.safetensors")
    assert torch.equal(tensors["a"], torch.arange(6).reshape(2, 3).T)
    assert state == {"epoch": 3, "best": None}


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    path, tensors = tmp_path / "x.safetensors", {"a": torch.randn(3, 2), "b": torch.arange(4), "c": torch.zeros(0)}
    save_tensors(path, tensors, {"threshold": 0.5})
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        if whole[place // 8] == ord(" ") and 8 < place // 8 < whole.index(b"}} ") + 8 and data[place // 8] in b"\t\n\r":
            continue  # one white space is as good as another
        with pytest.raises(IntegrityError, match=r"x\.safetensors"):
            load_tensors(path)


def test_files_of_before_seals_are_read_with_a_warning(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors", metadata={"state": '{"epoch": 1}'})
    with pytest.warns(RuntimeWarning, match="before files were sealed"):
        tensors, state = load_tensors(tmp_path / "x.safetensors")
    assert (tensors["a"].tolist(), state) == ([1, 1], {"epoch": 1})
