"""The adapter of a format: all that the engine does with its files and knows of its runtime."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worker.engine.costs.cold_weights import ChainStopwatch
from worker.engine.model import Inputs, Model, Restored, Runner
from worker.engine.numerics.convolution import Convolution

Layout = Literal["whole", "branches"]
"""How a chain of layers is written: as it is, or as a sum of chains of simpler layers."""

Stopwatch = Callable[[Convolution, tuple[int, ...], int], float]
"""Nanoseconds of one call of a layer, given its input's spatial size and batch."""


@dataclass(frozen=True)
class Int8Inputs:
    """The inputs that int8 is measured on.

    Ranges are measured on `fitting`, and losses on `held_out`. Layers are tried one by one where
    that takes at most `most_trials` runs over the latter.
    """

    fitting: Sequence[Inputs]
    held_out: Sequence[Inputs]
    most_trials: int


@dataclass(frozen=True)
class Int8Layers:
    """What became of the layers: the sites in int8, and the losses of those that stayed in float.

    A loss is the relative error of the outputs with that site alone in int8.
    """

    sites: tuple[str, ...]
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Int8Losses:
    """The relative errors of a model's outputs with one site in int8 alone, by the site's name.

    `all_survive` says whether all sites stay in int8 together, because they lose little enough.
    """

    by_site: Mapping[str, float]
    all_survive: bool


@dataclass(frozen=True)
class Int8Writer:
    """How a format writes int8.

    Attributes:
        write: Replaces a float model's file by one in int8; the layers at the named sites stay.
        write_without_content: The same without ranges, to see how large the file is.
        losses: Returns what each site of a model loses in int8; the second path is written and
            deleted.
        why_not: Returns why layers stay in float, or None.
    """

    write: Callable[[Path, Int8Inputs, Collection[str]], Int8Layers]
    write_without_content: Callable[[Path, Collection[str]], None]
    losses: Callable[[Path, Path, Int8Inputs], Int8Losses]
    why_not: Callable[[Sequence[Convolution]], str | None]


@dataclass(frozen=True)
class FormatAdapter:
    """What a format's package gives to the engine.

    Attributes:
        open: Opens a model for surgery; refuses a file that cannot be parsed (`model_invalid`)
            and a version or operator that is not known (`model_unsupported`).
        load_runner: Loads a model to be run on one thread; the runner holds it in memory. Refuses
            what the runtime refuses (`model_invalid`).
        readable: Gives a file that `open` and `load_runner` take for an uploaded one, which may
            have to be unpacked first.
        stopwatch: Returns what times single layers on the runtime, and the nanoseconds that a layer
            costs besides its arithmetic.
        default_layout: The layout that is nearly always faster with two spatial axes, for jobs
            without a cost table.
        aligned_ranks: Whether ranks are offered in whole blocks of channels, because the runtime
            computes whole blocks.
        adds_in_convolution: Whether the runtime adds the outputs of branches within their last
            convolution, so that the sum takes no time of its own.
        macs_per_output: The multiply-accumulates per output that a form of a layer of few input
            channels has to save at least to be no slower, as measured.
        adding_stopwatch: Times single layers that add their outputs to those of another layer; None
            where the runtime does not add within a layer.
        chain_stopwatch: Times layers in chains of equal ones, given the number of these; None where
            weights that are read from memory take no longer, as far as networks show.
        int8_stopwatch: Times single layers in int8; None where int8 is not written.
        conversion_stopwatch: Times the conversions of a layer's inputs and outputs, likewise.
        int8: How int8 is written; None for a format in which it is not.
        write_in_float: Writes a quantised model's file, the first path, as a float model to the
            second; returns None, and writes nothing, where the model is not quantised or its floats
            are not known. None for a format in which weights are not restored.
    """

    open: Callable[[Path], Model]
    load_runner: Callable[[Path], Runner]
    readable: Callable[[Path], AbstractContextManager[Path]]
    stopwatch: Callable[[], tuple[Stopwatch, float]]
    default_layout: Layout
    aligned_ranks: bool
    adds_in_convolution: bool
    macs_per_output: int
    adding_stopwatch: Stopwatch | None = None
    chain_stopwatch: ChainStopwatch | None = None
    int8_stopwatch: Stopwatch | None = None
    conversion_stopwatch: Stopwatch | None = None
    int8: Callable[[], Int8Writer] | None = None
    write_in_float: Callable[[Path, Path], Restored | None] | None = None
