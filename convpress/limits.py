"""Limits on the size and the depth of a model, checked before anything opens it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits on a model's container; sizes in bytes. Honest networks stay far below all of them."""

    members: int = 20_000
    """Files in an archive; more have no effect, since no larger directory is read."""
    inflated_bytes: int = 128 * 1024**2
    """The size of an archive's compressed members after decompression, all together."""
    inflation: int = 200
    """The ratio by which one compressed member may grow."""
    source_tokens: int = 1_000_000
    """Tokens of TorchScript source, all files together; it may have eight bytes a token."""
    pickle_bytes: int = 16 * 1024**2
    """An archive's pickles, all together."""
    pickle_steps: int = 1_000_000
    """Opcodes of one pickle; all pickles of an archive may have four times as many."""
    nesting: int = 64
    """Depth of brackets, containers, graphs, expressions, and calls of ONNX functions."""
    depth: int = 256
    """Depth of TorchScript source: blocks and operators within each other, and definitions that
    use each other."""
    nodes: int = 100_000
    """Nodes of an ONNX model or a torch.export archive; a call of a local function counts as the
    nodes of the function."""
    fields: int = 1_000_000
    """Protocol-buffers fields of an ONNX model, weights not counted."""
    attribute_values: int = 65_536
    """Numbers or texts in one attribute of an ONNX node."""
    json_bytes: int = 64 * 1024**2
    """One member of a torch.export archive that is JSON: its program, or an index of tensors."""
    json_values: int = 4_000_000
    """Commas and opening brackets of such a member, those in its texts among them."""
    tensors: int = 100_000
    """Tensors in an ONNX model or a torch.export archive."""
    tensor_bytes: int = 8 * 1024**3
    """The size of one declared tensor: a weight, an input or an output."""

    @property
    def sites(self) -> int:
        """Layers that a report may list: in a network, another operator lies between two layers."""
        return self.nodes // 2
