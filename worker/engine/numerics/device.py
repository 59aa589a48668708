"""The device on which a job calibrates and factors: the processor, or a GPU that torch knows as cuda.

A process serves one request, so the device is the process's own. Reading, counting, writing and verifying stay on the
processor. torch is imported where another device is asked for, and not before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from convpress.refusal import Code, Refusal

if TYPE_CHECKING:
    from torch import Tensor

PROCESSOR = "cpu"

_chosen = PROCESSOR


def choose(name: str) -> None:
    """Compute on the device of this name from here on.

    Raises:
        Refusal: `device_unavailable`.
    """
    global _chosen
    if name != PROCESSOR:
        _require(name)
    _chosen = name


def chosen() -> str:
    """Return the name of the device that is computed on.

    >>> chosen()
    'cpu'
    """
    return _chosen


def placed(tensor: "Tensor") -> "Tensor":
    """Return a tensor as it lies on the device; itself where it does."""
    return tensor if _chosen == PROCESSOR else tensor.to(_chosen)


@contextmanager
def computing() -> Iterator[None]:
    """Let torch make its new tensors on the device."""
    if _chosen == PROCESSOR:
        yield
        return
    import torch

    with torch.device(_chosen):
        yield


def _require(name: str) -> None:
    """Have the device compute once, and set it to give the same numbers each time, in full precision."""
    import torch

    try:
        torch.ones(1, device=name).sum().item()
    except (AssertionError, RuntimeError) as error:  # the one where torch was built without CUDA
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise Refusal(
            Code.DEVICE_UNAVAILABLE,
            f"torch cannot compute on the device: {said[:200]}",
            field="device",
            expected=f"{PROCESSOR}, or a CUDA device of this host and a build of torch for it",
            got=name,
        ) from error
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
