"""How large and how deep a model may be before anything opens it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Caps on what a model's container says and holds; sizes in bytes. Honest networks stay far below every one."""

    members: int = 20_000
    """Files in an archive."""
    inflated_bytes: int = 128 * 1024**2
    """What an archive's compressed members may grow to, all together."""
    inflation: int = 200
    """How often its own size a compressed member may grow to."""
    source_tokens: int = 1_000_000
    """Words of TorchScript source, all files together; its bytes may be eight times as many."""
    pickle_bytes: int = 16 * 1024**2
    """An archive's pickles, all together."""
    pickle_steps: int = 1_000_000
    """Opcodes of one pickle."""
    nesting: int = 64
    """Brackets in brackets, containers in containers, graphs in graphs, functions that call functions."""
    nodes: int = 100_000
    """Nodes of an ONNX model, with every call of a local function counted as the nodes that it stands for."""
    fields: int = 1_000_000
    """Protocol-buffers fields of an ONNX model, weights not counted."""
    tensors: int = 100_000
    """Tensors that an ONNX model carries."""
    tensor_bytes: int = 8 * 1024**3
    """What one declared tensor takes: a weight, an input or an output."""
