"""What the gate knows of each format: to recognise, to check, and to find the shape of a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convpress.formats import Format
from convpress.gate.container import Container
from convpress.gate.onnx import open_inputs as onnx_inputs
from convpress.gate.onnx.check import require_safe_onnx
from convpress.gate.onnx.recognise import recognise_onnx
from convpress.gate.pt2 import open_inputs as pt2_inputs
from convpress.gate.pt2.check import require_safe_pt2
from convpress.gate.pt2.recognise import recognise_pt2
from convpress.gate.torchscript.check import require_safe_torchscript
from convpress.gate.torchscript.recognise import recognise_torchscript
from convpress.gate.torchscript.shape import suggested_shape
from convpress.limits import Limits


@dataclass(frozen=True)
class FormatGate:
    """The gate's questions about a file of one format.

    Attributes:
        recognise: Whether a file is of this format by its container; raises `Refusal` only for one
            that surely is, and is damaged.
        check: Raises `Refusal` for a file that holds more than a network needs or exceeds a limit.
        suggested_shape: The input shape that a file notes beside the network, None without one;
            asked only for formats that do not store shapes.
        open_shape: The shapes, as a user writes them, of inputs with sizes that the file does not
            state, None where it states all or that cannot be known within bounds; asked only for
            formats that store shapes.
    """

    recognise: Callable[[Container], bool]
    check: Callable[[Path, Limits], None]
    suggested_shape: Callable[[Path], str | None] = lambda _: None
    open_shape: Callable[[Path], str | None] = lambda _: None


GATES: dict[Format, FormatGate] = {
    "onnx": FormatGate(
        recognise_onnx, require_safe_onnx, open_shape=onnx_inputs.open_shape
    ),
    "torchscript": FormatGate(
        recognise_torchscript, require_safe_torchscript, suggested_shape
    ),
    "pt2": FormatGate(
        recognise_pt2, require_safe_pt2, open_shape=pt2_inputs.open_shape
    ),
}
"""By format, asked in this order; no file is of two formats."""
