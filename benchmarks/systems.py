"""Three whole systems through the running service: VGG16, SSD300 and OpenPose, in both formats.

    python benchmarks/systems.py [--only vgg16 ssd300 openpose] [--formats onnx torchscript]
        [--output figures.json]

The architectures are the papers': configuration D of Simonyan and Zisserman (arXiv 1409.1556),
SSD300 of Liu et al. (arXiv 1512.02325) on the 21 classes of VOC, and the COCO model of Cao et al.
(arXiv 1611.08050) with its six stages. Their weights are random (seed 0), so this shows structure,
cost and count, not accuracy. Budgets are what DAC's paper saves on each (arXiv 1812.08374): 53, 29
and 46 %. Beside the service's error stands DAC's alone at the same FLOPs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from service import Watch, follow, serving
from torch import Tensor, nn

VGG16 = [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]
OPENPOSE_VGG = [
    64,
    64,
    0,
    128,
    128,
    0,
    256,
    256,
    256,
    256,
    0,
    512,
    512,
    256,
    128,
]  # VGG19's first ten, then two more


def convolutions(widths: list[int], channels: int = 3) -> nn.Sequential:
    """Convolutions of 3x3 with rectifiers; 0 is a pooling layer, which rounds up."""
    layers: list[nn.Module] = []
    for width in widths:
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers)


def vgg16() -> nn.Module:
    """VGG16 with its three linear layers."""
    linear = [
        nn.Linear(25088, 4096),
        nn.ReLU(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, 1000),
    ]
    return nn.Sequential(convolutions(VGG16), nn.Flatten(), *linear)


class SSD300(nn.Module):
    """SSD300 on VGG16: locations and scores of 8732 boxes."""

    def __init__(self, classes: int = 21) -> None:
        super().__init__()
        self.low = convolutions(VGG16[:13])
        self.scale = nn.Parameter(torch.full((1, 512, 1, 1), 20.0))
        high = list(convolutions(VGG16[14:17], 512))
        self.high = nn.Sequential(
            nn.MaxPool2d(2),
            *high,
            nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.ReLU(),
            nn.Conv2d(1024, 1024, 1),
            nn.ReLU(),
        )
        self.extras = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, middle, 1),
                nn.ReLU(),
                nn.Conv2d(middle, 2 * middle, 3, stride, padding),
                nn.ReLU(),
            )
            for inputs, middle, stride, padding in (
                (1024, 256, 2, 1),
                (512, 128, 2, 1),
                (256, 128, 1, 0),
                (256, 128, 1, 0),
            )
        )
        sources = zip((512, 1024, 512, 256, 256, 256), (4, 6, 6, 6, 4, 4), strict=True)
        self.heads = nn.ModuleList(
            nn.Conv2d(width, boxes * (4 + classes), 3, padding=1)
            for width, boxes in sources
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the outputs of the heads, one row a position."""
        low = self.low(image)
        maps = [low / low.norm(dim=1, keepdim=True) * self.scale, self.high(low)]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        predictions = [
            head(source).permute(0, 2, 3, 1).reshape(1, -1)
            for head, source in zip(self.heads, maps, strict=True)
        ]
        return torch.cat(predictions, 1)


class OpenPose(nn.Module):
    """OpenPose for COCO: 38 affinity fields and 19 maps of parts, in five stages of 7x7 layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = convolutions(OPENPOSE_VGG)
        kernels = [[3, 3, 3], *[[7, 7, 7, 7, 7]] * 5]
        self.stages = nn.ModuleList(
            nn.ModuleList(
                self._branch(128 if stage == 0 else 185, sizes, maps)
                for maps in (38, 19)
            )
            for stage, sizes in enumerate(kernels)
        )

    def _branch(self, channels: int, sizes: list[int], maps: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for size in sizes:
            layers += [nn.Conv2d(channels, 128, size, padding=size // 2), nn.ReLU()]
            channels = 128
        middle = 512 if len(sizes) == 3 else 128
        return nn.Sequential(
            *layers, nn.Conv2d(128, middle, 1), nn.ReLU(), nn.Conv2d(middle, maps, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the last stage's fields and maps together."""
        features = self.features(image)
        maps = features
        for stage in self.stages:
            maps = torch.cat([*(branch(maps) for branch in stage), features], 1)
        return maps[:, :57]


SYSTEMS: dict[str, tuple[type[nn.Module] | Any, int, str]] = {
    "vgg16": (vgg16, 224, "0.47"),
    "ssd300": (SSD300, 300, "0.71"),
    "openpose": (OpenPose, 368, "0.54"),
}
"""How each is made, the side of its input, and what to keep."""


def write(name: str, model_format: str, folder: Path) -> Path:
    """Write a system with random weights of a size that keeps activations as they are."""
    make, side, _ = SYSTEMS[name]
    torch.manual_seed(0)
    model = make().eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    image = torch.rand(1, 3, side, side)
    path = folder / f"{name}{'.onnx' if model_format == 'onnx' else '.pt'}"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if model_format == "onnx":
            torch.onnx.export(
                model, (image,), path, dynamo=False, input_names=["image"]
            )
        else:
            torch.jit.trace(model, image).save(path)
    return path


def through_the_service(
    model: Path, budget: str, side: int, folder: Path
) -> dict[str, Any]:
    """Post a model; return its report with the job's seconds and the child's peak memory."""
    with serving(folder / "data") as (http, service):
        watch = Watch(service)
        watch.start()
        began = time.perf_counter()
        with model.open("rb") as file:
            form = {"flops_budget": budget, "input_shape": f"1x3x{side}x{side}"}
            response = http.post(
                "/jobs", data=form, files={"model": (model.name, file)}
            )
        response.raise_for_status()
        job = follow(http, response.json())
        seconds = time.perf_counter() - began
        watch.stop()
        report: dict[str, Any] = http.get(f"/jobs/{job['id']}/report").json()
    return report | {"seconds": seconds, "child_peak_mb": watch.peak["child"]}


def error_of_dac(model: Path, budget: str, side: int, folder: Path) -> float | None:
    """Return the output error of DAC alone at the same budget; None where it cannot reach it."""
    report = folder / "dac.json"
    command = [
        sys.executable,
        "-m",
        "worker.cli",
        "compress",
        str(model),
        "--flops-budget",
        budget,
        "--form",
        "dac",
        "--input-shape",
        f"1x3x{side}x{side}",
        "--output",
        str(folder / f"dac{model.suffix}"),
        "--report",
        str(report),
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    error: float | None = json.loads(report.read_text())["verification"][
        "relative_error"
    ]
    return error


def main() -> None:
    """Measure and print a row a system and format, and below it the chosen forms and ranks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=["onnx", "torchscript"],
        default=["onnx", "torchscript"],
    )
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    figures = []
    print(
        "| system | format | GMACs before | after | kept | error | of DAC | "
        "processor ms before | after | peak MB | job s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in arguments.only:
        _, side, budget = SYSTEMS[name]
        for model_format in arguments.formats:
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                model = write(name, model_format, folder)
                report = through_the_service(model, budget, side, folder)
                dac = error_of_dac(model, budget, side, folder)
            before = report["before"]
            after = report["after"]
            before_ms, after_ms = (
                report["timing"][side]["processor"]["median_ms"]
                for side in ("before", "after")
            )
            print(
                f"| {name} | {model_format} | {before['macs'] / 1e9:.3f} | "
                f"{after['macs'] / 1e9:.3f} "
                f"| {report['keep']:.4f} | {report['verification']['relative_error']:.4f} "
                f"| {'-' if dac is None else f'{dac:.4f}'} | {before_ms:.0f} | "
                f"{after_ms:.0f} "
                f"| {report['child_peak_mb']:.0f} | {report['seconds']:.0f} |",
                flush=True,
            )
            figures.append(
                {"system": name, "format": model_format, "dac_error": dac} | report
            )
            if arguments.output:
                arguments.output.write_text(json.dumps(figures, indent=1))
    for figure in figures:
        forms = Counter(site["form"] for site in figure["sites"])
        print(f"\n{figure['system']}, {figure['format']}: {dict(forms)}")
        for site in figure["sites"]:
            chosen = f"{site['form']:12}{site['rank']!s:12}{site['error']:.4f}"
            print(f"  {site['name']:32}{site['op']:16}{chosen}")


if __name__ == "__main__":
    main()
