"""Write classifiers of torchvision as ONNX: random weights, a thousand classes, small images.

    ZOO/bin/python benchmarks/zoo/classifiers.py FOLDER [--only NAME ...]
    .venv/bin/python benchmarks/latency.py --zoo FOLDER --only NAME ... --ways FLOPs time

ZOO is an environment of its own (see `zoo/__init__.py`). The files are NAME.onnx in
FOLDER/torchvision.
"""

import argparse
import warnings
from pathlib import Path
from types import MappingProxyType

import torch
from torchvision import models

SIDES = MappingProxyType(
    {
        "mobilenet_v2": 96,
        "mobilenet_v3_small": 128,
        "shufflenet_v2_x0_5": 128,
        "squeezenet1_1": 128,
        "mnasnet0_5": 128,
        "regnet_y_400mf": 96,
        "resnet18": 128,
        "efficientnet_b0": 96,
    }
)
"""The sides of their images."""


def write(name: str, side: int, folder: Path) -> None:
    """Write one network, drawn with seed 0."""
    torch.manual_seed(0)
    network = getattr(models, name)(weights=None).eval()
    image = torch.rand(1, 3, side, side)
    path = str(folder / f"{name}.onnx")
    torch.onnx.export(
        network, (image,), path, dynamo=False, input_names=["x"], opset_version=17
    )


def main() -> None:
    """Write the networks that the arguments name, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(SIDES), default=list(SIDES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = arguments.folder / "torchvision"
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        write(name, SIDES[name], folder)


if __name__ == "__main__":
    main()
