"""Architectures of the literature, with normalisation folded away, for benchmarks of time.

ResNet-18 and ResNet-20 of He et al. (arXiv 1512.03385), U-Net of Ronneberger et al. (1505.04597)
with padding and half of its channels, MobileNetV2 of Sandler et al. (1801.04381).
"""

from collections.abc import Callable

import torch
from speed import resnet50
from systems import vgg16
from torch import Tensor, nn


class Basic(nn.Module):
    """ResNet's block of two convolutions of 3x3."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the body makes to what comes in."""
        return torch.relu(self.body(x) + self.shortcut(x))


def stages(inputs: int, widths: tuple[int, ...], count: int) -> list[nn.Module]:
    """Return blocks of two convolutions; each stage but the first halves the image."""
    blocks: list[nn.Module] = []
    for stage, width in enumerate(widths):
        for number in range(count):
            stride = 2 if stage and number == 0 else 1
            blocks.append(Basic(inputs, width, stride))
            inputs = width
    return blocks


def head(channels: int, classes: int) -> list[nn.Module]:
    """Return a classifier's last layers."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def resnet18() -> nn.Module:
    """ResNet-18 for images of 224 x 224."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *stages(64, (64, 128, 256, 512), 2), *head(512, 1000))


def resnet20() -> nn.Module:
    """ResNet-20 for images of 32 x 32."""
    stem = [nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*stem, *stages(16, (16, 32, 64), 3), *head(64, 10))


class Inverted(nn.Module):
    """MobileNetV2's block: wide, depthwise, narrow."""

    def __init__(self, inputs: int, outputs: int, stride: int, factor: int) -> None:
        super().__init__()
        middle = factor * inputs
        wide = [nn.Conv2d(inputs, middle, 1), nn.ReLU6()] if factor > 1 else []
        depthwise = [nn.Conv2d(middle, middle, 3, stride, 1, groups=middle), nn.ReLU6()]
        self.body = nn.Sequential(*wide, *depthwise, nn.Conv2d(middle, outputs, 1))
        self.adds = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Add the input where the shapes allow it."""
        return x + self.body(x) if self.adds else self.body(x)


MOBILENETV2 = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Factor, outputs, blocks and stride of each stage."""


def mobilenetv2() -> nn.Module:
    """MobileNetV2 for images of 224 x 224."""
    blocks: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6()]
    inputs = 32
    for factor, outputs, count, stride in MOBILENETV2:
        for number in range(count):
            blocks.append(
                Inverted(inputs, outputs, stride if number == 0 else 1, factor)
            )
            inputs = outputs
    return nn.Sequential(
        *blocks, nn.Conv2d(inputs, 1280, 1), nn.ReLU6(), *head(1280, 1000)
    )


def twice(inputs: int, outputs: int) -> nn.Sequential:
    """Return two convolutions with rectifiers."""
    first = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU())


class UNet(nn.Module):
    """U-Net of four levels, with transposed convolutions."""

    def __init__(self, width: int = 32, levels: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(
            twice(c, n) for c, n in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, 2) for n in widths[:-1])
        self.merge = nn.ModuleList(twice(2 * n, n) for n in widths[:-1])
        self.last = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map for each class."""
        skipped = []
        for level, down in enumerate(self.down):
            x = down(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skipped.append(x)
        skipped.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(torch.cat([skipped.pop(), up(x)], 1))
        return self.last(x)


ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vgg16": (vgg16, (1, 3, 224, 224)),
    "resnet18": (resnet18, (1, 3, 224, 224)),
    "resnet50": (resnet50, (1, 3, 224, 224)),
    "unet": (UNet, (1, 3, 192, 192)),
    "mobilenetv2": (mobilenetv2, (1, 3, 224, 224)),
    "resnet20": (resnet20, (1, 3, 32, 32)),
}
"""A function that makes each, and the shape of its input."""
