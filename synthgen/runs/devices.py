"""Where and how precisely tensors are computed."""

import contextlib
import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from synthgen.errors import UsageError

PRECISIONS = ("fp32", "bf16")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and how precisely.

    Attributes:
        device: such as `cuda:0`.
        precision: `fp32`; or `bf16` for the products of matrices (scores change by up to 1e-2).
        compile: whether `torch.compile` is used; it pays after minutes.
    """

    device: torch.device
    precision: str = "fp32"
    compile: bool = False

    def autocast(self) -> AbstractContextManager[object]:
        """In effect around a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def in_full(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A layer's result in at least float32, autocast or not: a network's last layer, whose last digits are worth keeping."""
    with torch.autocast(x.device.type, enabled=False):
        result: torch.Tensor = layer(x.to(torch.promote_types(x.dtype, torch.float32)))
        return result


def choose_compute(device: str = "auto", precision: str = "fp32", compile: bool = False) -> Compute:
    """What the options ask for.

    Raises:
        UsageError: there is no such device or precision here.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: not available here ({str(error).splitlines()[0]}). Try --device cpu.") from error
    if chosen.type == "cpu":
        keep_freed_memory()
    else:
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return Compute(chosen, precision, compile)


def settle(network: torch.nn.Module, device: str) -> torch.device:
    """Move a trained network to where it is used, in evaluation mode and frozen. Raises UsageError if that is not there."""
    try:
        place = torch.device(device)
        network.to(place).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {device}: not available here ({reason}). Try --device cpu.") from error
    return place


def keep_freed_memory() -> None:
    """Have the allocator keep large blocks, where it is glibc's: giving each back to the system, and getting it again page
    by page in the next step, costs a fifth of a step on a CPU.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextlib.contextmanager
def exactly() -> Iterator[None]:
    """One CPU thread, and no shortened numbers or trials of algorithms on a GPU: the same input gives the same output."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def memory_errors(what: str, advice: str = "lower --batch-size or --size, or give --cache host") -> Iterator[None]:
    """Turns a device out of memory into an error that says what to do."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UsageError(f"the device ran out of memory {what}: {advice}.") from error
