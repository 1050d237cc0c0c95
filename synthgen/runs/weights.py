"""Weights that somebody else trained: read from files of plain tensors, never unpickled."""

from pathlib import Path

import torch
from torch import Tensor

from synthgen.errors import InputDataError, IntegrityError


def read_weights(path: Path, advice: str = "") -> dict[str, Tensor]:
    """The tensors of a checkpoint (safetensors, or PyTorch's format without pickled code), on the CPU.

    A `state_dict` within the file is taken, and `nn.DataParallel`'s prefix taken off the names.

    Args:
        path: the file.
        advice: a sentence for the user on which file is wanted.

    Raises:
        InputDataError: there is no such file, or it cannot be read.
        IntegrityError: it is damaged, or holds more than tensors.
    """
    advice = f" {advice}" if advice else ""
    if not path.is_file():
        raise InputDataError(f"{path}: there is no such file.{advice}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputDataError(f"{path}: cannot be read ({error.strerror or error}).{advice}") from error
    except Exception as error:  # whatever damaged data makes the loaders raise
        raise IntegrityError(
            f"{path}: not a checkpoint of plain tensors, or cut short ({type(error).__name__}). "
            f"It is never unpickled: that could run code.{advice}"
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise IntegrityError(f"{path}: holds no network's weights: expected a dictionary of tensors.{advice}")
    return {str(key).removeprefix("module."): value for key, value in state.items()}
