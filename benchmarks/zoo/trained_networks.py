"""Small networks of many kinds, trained in seconds, as a zoo of `risk.py`.

    python benchmarks/zoo/trained_networks.py FOLDER [NAME ...]
    python benchmarks/risk.py --zoo FOLDER --cases "real images" --ways refitted --output docs

FOLDER gets each network as ONNX, where BatchNorm is folded away, and as TorchScript, where it is
kept, with its test data and samples. It also gets a copy of this file as its `measure.py`. The
networks know scikit-learn's digits under noise, tones that rise or fall under noise, or the discs
and boxes of a picture. Noise puts classes near each other, as they are for large networks.
"""

import argparse
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

FOLDER = Path(__file__).parent
BATCH = 64
SAMPLES = 100
DIGITS, TONES, SHAPES = 10, 6, 3

Data = tuple[NDArray[np.float32], NDArray[np.int64]]
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def digits(seed: int, noise: float, *, flat: bool = False) -> Data:
    """Return digits `(n, 1, 16, 16)`, or `(n, 64)` where they are flat: 1 trains, and 2 tests."""
    pictures, labels = load_digits(return_X_y=True)
    is_test = np.arange(len(labels)) % 4 == 0
    chosen = is_test if seed == 2 else ~is_test
    images = (pictures[chosen] / 16).reshape(-1, 1, 8, 8)
    if not flat:
        images = images.repeat(2, axis=2).repeat(2, axis=3)
    images = images.repeat(seed, axis=0)
    rng = np.random.default_rng(seed)
    noisy = images + noise * rng.standard_normal(images.shape)
    shape = (-1, 64) if flat else noisy.shape
    return noisy.reshape(shape).astype(np.float32), labels[chosen].repeat(seed)


def tones(seed: int) -> Data:
    """Return signals `(n, 1, 256)` whose class is their pitch, every other one falling."""
    rng = np.random.default_rng(seed)
    count = 2000 // seed
    classes = rng.integers(0, TONES, count)
    time = np.arange(256) / 256
    pitch = 8 + 4 * classes + rng.normal(0, 0.9, count)
    bend = np.where(classes % 2, 6, -6)[:, None] * time**2
    phase = rng.uniform(0, 2 * np.pi, (count, 1))
    middle = rng.uniform(0.3, 0.7, (count, 1))
    waves = np.sin(2 * np.pi * (pitch[:, None] * time + bend) + phase)
    waves *= np.exp(-((time - middle) ** 2) / 0.05)
    waves += rng.normal(0, 0.45, waves.shape)
    return waves[:, None].astype(np.float32), classes


def discs_and_boxes(seed: int) -> Data:
    """Return pictures `(n, 3, 32, 32)` and the class of every pixel: ground, disc or box."""
    rng = np.random.default_rng(seed)
    count = 800 // seed
    y, x = np.mgrid[:32, :32]
    pictures = np.empty((count, 3, 32, 32), np.float32)
    masks = np.zeros((count, 32, 32), np.int64)
    for picture, mask in zip(pictures, masks, strict=True):
        picture[:] = rng.uniform(0, 0.6, (3, 1, 1))
        for number in (1, 2):
            dx, dy = x - rng.uniform(6, 26), y - rng.uniform(6, 26)
            size = rng.uniform(4, 8)
            inside = (
                np.hypot(dx, dy) < size
                if number == 1
                else np.maximum(abs(dx), abs(dy)) < size
            )
            picture[:, inside] = rng.uniform(0.3, 1, (3, 1))
            mask[inside] = number
        picture += rng.normal(0, 0.08, picture.shape)
    return pictures, masks


def conv(c: int, n: int, kernel: int = 3, stride: int = 1, **members: Any) -> nn.Module:  # noqa: ANN401
    """Return a convolution with BatchNorm and ReLU; `axes` are 2 by default."""
    two = members.pop("axes", 2) == 2
    layer, norm = (nn.Conv2d, nn.BatchNorm2d) if two else (nn.Conv1d, nn.BatchNorm1d)
    members = {"padding": kernel // 2, "bias": False, **members}
    return nn.Sequential(layer(c, n, kernel, stride, **members), norm(n), nn.ReLU())


def biased(c: int, n: int) -> nn.Module:
    """Return a 3x3 convolution with a bias, and ReLU."""
    return nn.Sequential(nn.Conv2d(c, n, 3, padding=1), nn.ReLU())


def depthwise(c: int, n: int, stride: int = 1) -> nn.Module:
    """Return a depthwise layer and a pointwise one."""
    return nn.Sequential(conv(c, c, 3, stride, groups=c), conv(c, n, 1))


def head(c: int, classes: int = DIGITS, axes: int = 2) -> list[nn.Module]:
    """Return the mean over all positions, and a linear layer."""
    pool = nn.AdaptiveAvgPool2d(1) if axes == 2 else nn.AdaptiveAvgPool1d(1)
    return [pool, nn.Flatten(), nn.Linear(c, classes)]


class Shortcut(nn.Module):
    """Layers whose input is added to their output."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        return x + self.layers(x)


class Attention(nn.Module):
    """Self-attention of four heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens `(batch, length, width)` from such tokens."""
        batch, length, width = x.shape
        parts = self.heads(x).reshape(batch, length, 3, 4, width // 4)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(
            query @ key.transpose(-1, -2) * (width // 4) ** -0.5, -1
        )
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, width)
        return self.out(mixed)


class Transformer(nn.Module):
    """Patches of 4 x 4, three blocks of attention, and the mean of all patches."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 16, width) * 0.02)
        blocks = []
        for _ in range(3):
            wide = [nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)]
            blocks.append(Shortcut(nn.LayerNorm(width), Attention(width)))
            blocks.append(Shortcut(nn.LayerNorm(width), *wide))
        self.blocks = nn.Sequential(*blocks)
        self.scores = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, DIGITS))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores from pictures `(batch, 1, 16, 16)`."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.scores(self.blocks(tokens).mean(1))


class Segmenter(nn.Module):
    """A coarse and a fine path, put together for a class of every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = conv(3, 24)
        self.coarse = nn.Sequential(conv(24, 48, stride=2), conv(48, 48))
        self.larger = nn.ConvTranspose2d(48, 24, 2, 2)
        self.scores = nn.Sequential(conv(48, 24), nn.Conv2d(24, SHAPES, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores `(batch, classes, height, width)` of pictures."""
        fine = self.fine(x)
        coarse = F.relu(self.larger(self.coarse(fine)))
        return self.scores(torch.cat([fine, coarse], 1))


class Network(NamedTuple):
    """How a network is built, its data, the epochs of its training, and its fastest step."""

    build: Callable[[], nn.Module]
    data: Callable[[int], Data]
    epochs: int
    step: float = 0.01


def dense(norm: bool) -> nn.Module:
    """Return three linear layers on flat digits."""
    layers: list[nn.Module] = []
    for c in (64, 128):
        layers += [
            nn.Linear(c, 128),
            *([nn.BatchNorm1d(128)] if norm else []),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Linear(128, DIGITS))


def inverted(c: int) -> nn.Module:
    """Return an inverted residual block."""
    narrow = nn.Sequential(nn.Conv2d(4 * c, c, 1, bias=False), nn.BatchNorm2d(c))
    return Shortcut(conv(c, 4 * c, 1), conv(4 * c, 4 * c, groups=4 * c), narrow)


def residual(c: int) -> nn.Module:
    """Return a residual block of two 3x3 convolutions, and a ReLU."""
    second = nn.Sequential(nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))
    return nn.Sequential(Shortcut(conv(c, c), second), nn.ReLU())


def along_time(*layers: nn.Module) -> nn.Module:
    """Return layers for signals, between a first layer and the head."""
    return nn.Sequential(conv(1, 24, 9, 2, axes=1), *layers, *head(48, TONES, axes=1))


TRAINED: Mapping[str, Network] = {
    "dense": Network(
        lambda: dense(norm=False), lambda part: digits(part, 0.15, flat=True), 20, 2e-3
    ),
    "dense_bn": Network(
        lambda: dense(norm=True), lambda part: digits(part, 0.15, flat=True), 20, 2e-3
    ),
    "plain": Network(
        lambda: nn.Sequential(
            biased(1, 16), biased(16, 32), nn.MaxPool2d(2), biased(32, 48), *head(48)
        ),
        lambda part: digits(part, 0.4),
        14,
        3e-3,
    ),
    "batchnorm": Network(
        lambda: nn.Sequential(
            conv(1, 16), conv(16, 32), nn.MaxPool2d(2), conv(32, 48), *head(48)
        ),
        lambda part: digits(part, 0.4),
        8,
    ),
    "depthwise": Network(
        lambda: nn.Sequential(
            conv(1, 24),
            depthwise(24, 48),
            depthwise(48, 64, 2),
            depthwise(64, 64),
            *head(64),
        ),
        lambda part: digits(part, 0.3),
        8,
    ),
    "inverted": Network(
        lambda: nn.Sequential(
            conv(1, 16),
            inverted(16),
            conv(16, 24, 3, 2),
            inverted(24),
            conv(24, 64, 1),
            *head(64),
        ),
        lambda part: digits(part, 0.3),
        8,
    ),
    "residual": Network(
        lambda: nn.Sequential(
            conv(1, 16), residual(16), conv(16, 32, 3, 2), residual(32), *head(32)
        ),
        lambda part: digits(part, 0.4),
        8,
    ),
    "transformer": Network(Transformer, lambda part: digits(part, 0.2), 14, 2e-3),
    "time": Network(
        lambda: along_time(conv(24, 48, 9, 2, axes=1), conv(48, 48, 9, 2, axes=1)),
        tones,
        8,
    ),
    "time_depthwise": Network(
        lambda: along_time(
            conv(24, 24, 9, axes=1, groups=24),
            conv(24, 48, 1, axes=1),
            conv(48, 48, 9, 2, axes=1, groups=48),
            conv(48, 48, 1, axes=1),
        ),
        tones,
        8,
    ),
    "segments": Network(Segmenter, discs_and_boxes, 8),
}


def train(network: Network) -> nn.Module:
    """Return the trained network."""
    torch.manual_seed(0)
    model = network.build()
    inputs, classes = map(torch.from_numpy, network.data(1))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, network.step, total_steps=network.epochs * -(-len(classes) // BATCH)
    )
    model.train()
    for _ in range(network.epochs):
        for chosen in torch.randperm(len(classes)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[chosen]), classes[chosen]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def write(folder: Path, name: str) -> None:
    """Train a network, and write it with its data."""
    network = TRAINED[name]
    model = train(network)
    inputs, classes = network.data(2)
    example = torch.from_numpy(inputs[:2])
    torch.jit.trace(model, example).save(folder / f"{name}.ts.pt")
    torch.onnx.export(
        model,
        (example,),
        folder / f"{name}.onnx",
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
    )
    samples = network.data(1)[0][:SAMPLES]
    np.savez(folder / f"{name}.npz", test=inputs, classes=classes, calibration=samples)


# the copy in a zoo's folder measures the networks that lie beside it
NETWORKS: Mapping[str, dict[str, Any]] = {
    path.stem: {
        "shape": (1, *np.load(path)["test"].shape[1:]),
        "metric": "right answers in %",
        "scale": "as trained",
    }
    for path in sorted(FOLDER.glob("*.npz"))
}


def inputs(network: str, part: str = "test") -> Data:
    """Return inputs and classes."""
    file = np.load(FOLDER / f"{network}.npz")
    return file[part], file["classes"]


def calibration(network: str) -> NDArray[np.float32]:
    """Return inputs to send as samples: none that is scored."""
    return inputs(network, "calibration")[0]


def score(network: str, run: Run, batch: int = 50) -> float:
    """Return the share of inputs, or of pixels, that `run` gives the right class, in per cent."""
    tested, classes = inputs(network)
    starts = range(0, len(tested), batch)
    scores = np.concatenate([run(tested[start : start + batch]) for start in starts])
    return 100 * float(np.mean(scores.argmax(1) == classes))


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=list(TRAINED))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        write(arguments.folder, name)
        print(name, flush=True)
    shutil.copyfile(__file__, arguments.folder / "measure.py")


if __name__ == "__main__":
    main()
