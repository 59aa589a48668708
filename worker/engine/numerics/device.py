"""The device that a job calibrates and factors on: the processor, or a GPU, cuda to torch.

A process serves one request, so the device is the process's own. Reading, counting, writing and
verifying stay on the processor. torch is imported for another device alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from convpress.refusal import Code, Refusal

if TYPE_CHECKING:
    from torch import Tensor

PROCESSOR = "cpu"

_LONGEST = 200
"""The characters of torch's message in a refusal."""

_chosen = PROCESSOR


def choose(name: str) -> None:
    """Compute on the device of this name from now on.

    Raises:
        Refusal: `device_unavailable`.
    """
    global _chosen
    if name != PROCESSOR:
        _require(name)
    _chosen = name


def chosen() -> str:
    """Return the name of the device.

    >>> chosen()
    'cpu'
    """
    return _chosen


def placed(tensor: "Tensor") -> "Tensor":
    """Return a tensor on the device; the tensor itself where it is there."""
    if _chosen == PROCESSOR:
        return tensor
    return tensor.to(_chosen)


@contextmanager
def computing() -> Iterator[None]:
    """Let torch create tensors on the device."""
    if _chosen == PROCESSOR:
        yield
        return
    import torch

    with torch.device(_chosen):
        yield


def _require(name: str) -> None:
    """Compute on the device once, and set it to deterministic results in full precision.

    Raises:
        Refusal: `device_unavailable`.
    """
    import torch

    try:
        torch.ones(1, device=name).sum().item()
    # torch raises an AssertionError where it was built without CUDA
    except (AssertionError, RuntimeError) as error:
        first_line = str(error).partition("\n")[0] or type(error).__name__
        raise Refusal(
            Code.DEVICE_UNAVAILABLE,
            f"torch cannot compute on the device: {first_line[:_LONGEST]}",
            field="device",
            expected=f"{PROCESSOR}, or a CUDA device of this host and a build of torch for it",
            got=name,
        ) from error
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
