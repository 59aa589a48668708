"""Architectures of torchvision, at the smallest images that leave them whole."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import (
    maxvit,
    optical_flow,
    swin_transformer,
    video,
    vision_transformer,
)

from zoo.architecture import Architecture, Builder

_CLASSES = 10


class FirstOutput(nn.Module):
    """A segmentation network without the dictionary around its output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of classes."""
        scores: Tensor = self.network(x)["out"]
        return scores


class Boxes(nn.Module):
    """A detector of a batch of one, whose input is a tensor and whose outputs are tensors."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes, labels and scores."""
        [boxes] = self.detector([image[0]])
        return boxes["boxes"], boxes["labels"], boxes["scores"]


class LastFlow(nn.Module):
    """A network of optical flow that gives its last estimate."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the flow from the first image to the second."""
        estimates = self.network(first, second, num_flow_updates=2)
        flow: Tensor = estimates[-1]
        return flow


def _classifier(name: str, size: int, **settings: object) -> Builder:
    def build() -> Architecture:
        module = getattr(models, name)(weights=None, num_classes=_CLASSES, **settings)
        return Architecture(module, {"x": torch.rand(1, 3, size, size)})

    return build


def _segmentation(name: str, size: int) -> Builder:
    def build() -> Architecture:
        module = getattr(models.segmentation, name)(
            weights=None, weights_backbone=None, num_classes=5
        )
        return Architecture(FirstOutput(module), {"x": torch.rand(1, 3, size, size)})

    return build


def _detector(name: str, size: int, **settings: object) -> Builder:
    def build() -> Architecture:
        module = getattr(models.detection, name)(
            weights=None, weights_backbone=None, num_classes=5, **settings
        )
        return Architecture(
            Boxes(module), {"image": torch.rand(1, 3, size, size)}, False
        )

    return build


def _video(name: str, frames: int, size: int) -> Builder:
    def build() -> Architecture:
        module = getattr(video, name)(weights=None, num_classes=_CLASSES)
        return Architecture(module, {"x": torch.rand(1, 3, frames, size, size)})

    return build


def _on_images(size: int, module: Callable[[], nn.Module]) -> Builder:
    return lambda: Architecture(module(), {"x": torch.rand(1, 3, size, size)})


def _swin(**settings: object) -> nn.Module:
    return models.SwinTransformer(
        patch_size=[4, 4],
        embed_dim=24,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=[4, 4],
        num_classes=_CLASSES,
        **settings,
    )


def _swin_v2() -> nn.Module:
    return _swin(
        block=swin_transformer.SwinTransformerBlockV2,
        downsample_layer=swin_transformer.PatchMergingV2,
    )


def _vit() -> nn.Module:
    return vision_transformer.VisionTransformer(
        image_size=32,
        patch_size=8,
        num_layers=3,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=128,
        num_classes=_CLASSES,
    )


def _maxvit() -> nn.Module:
    return maxvit.MaxVit(
        input_size=(64, 64),
        stem_channels=16,
        partition_size=2,
        block_channels=[16, 32],
        block_layers=[1, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
        num_classes=_CLASSES,
    )


def _swin3d() -> Architecture:
    module = video.SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=24,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=[2, 4, 4],
        num_classes=_CLASSES,
    )
    return Architecture(module, {"x": torch.rand(1, 3, 4, 32, 32)})


def _raft() -> Architecture:
    pair = {"first": torch.rand(1, 3, 128, 128), "second": torch.rand(1, 3, 128, 128)}
    return Architecture(LastFlow(optical_flow.raft_small(weights=None)), pair)


ARCHITECTURES: dict[str, Builder] = {
    "alexnet": _classifier("alexnet", 63),
    "resnet18": _classifier("resnet18", 64),
    "resnext50_32x4d": _classifier("resnext50_32x4d", 64),
    "densenet121": _classifier("densenet121", 64),
    "mobilenet_v2": _classifier("mobilenet_v2", 64),
    "mobilenet_v3_small": _classifier("mobilenet_v3_small", 64),
    "efficientnet_b0": _classifier("efficientnet_b0", 64),
    "mnasnet0_5": _classifier("mnasnet0_5", 64),
    "shufflenet_v2_x0_5": _classifier("shufflenet_v2_x0_5", 64),
    "squeezenet1_1": _classifier("squeezenet1_1", 64),
    "googlenet": _classifier("googlenet", 64, aux_logits=False, init_weights=False),
    "inception_v3": _classifier(
        "inception_v3", 75, aux_logits=False, init_weights=False
    ),
    "regnet_y_400mf": _classifier("regnet_y_400mf", 64),
    "convnext_tiny": _classifier("convnext_tiny", 64),
    "swin": _on_images(32, _swin),
    "swin_v2": _on_images(32, _swin_v2),
    "vit": _on_images(32, _vit),
    "maxvit": _on_images(64, _maxvit),
    "deeplabv3_mobilenet": _segmentation("deeplabv3_mobilenet_v3_large", 64),
    "lraspp_mobilenet": _segmentation("lraspp_mobilenet_v3_large", 64),
    "ssdlite320_mobilenet": _detector("ssdlite320_mobilenet_v3_large", 320),
    "fasterrcnn_mobilenet": _detector("fasterrcnn_mobilenet_v3_large_320_fpn", 320),
    "r3d_18": _video("r3d_18", 4, 32),
    "r2plus1d_18": _video("r2plus1d_18", 4, 32),
    "s3d": _video("s3d", 16, 224),
    "swin3d": _swin3d,
    "raft_small": _raft,
}
