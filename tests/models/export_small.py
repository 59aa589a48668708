"""Write exported/small.torch-VERSION.pt2, as the torch that runs this writes it.

The network is mostly structure, so that a changed byte hits some: a batch of any size, arithmetic
of sizes, a buffer that is counted up, one that is not saved, and a constant.
"""

from pathlib import Path

import torch
from torch import nn


class Small(nn.Module):
    """A network of a convolution, BatchNorm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(64, 6)
        self.register_buffer("runs", torch.zeros(1))
        self.register_buffer("scale", torch.ones(6), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return scores of shape (2N, 3) for images of shape (N, 1, 8, 8)."""
        self.runs.add_(1)
        features = nn.functional.max_pool2d(torch.relu(self.norm(self.conv(image))), 2)
        scores = self.head(features.view(image.shape[0], -1)) * self.scale
        return scores.reshape(image.shape[0] * 2, 3) + torch.tensor([1.0])


if __name__ == "__main__":
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=64)
    example = (torch.zeros(2, 1, 8, 8),)
    program = torch.export.export(Small().eval(), example, dynamic_shapes=({0: batch},))
    for node in program.graph.nodes:
        # The lines of torch's own files say nothing about the format.
        node.meta.pop("stack_trace", None)
    version = torch.__version__.partition("+")[0]
    torch.export.save(
        program, Path(__file__).parent / "exported" / f"small.torch-{version}.pt2"
    )
