"""An analysis as a file, so that a second budget on the same model skips to the allocation.

The file holds numbers alone, in safetensors' format: nothing is unpickled. The child that wrote it
had run an untrusted model, so its content is checked against the model before it is used: a file
that does not fit in any detail counts as no file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from worker.engine.comparison_inputs import SOURCES
from worker.engine.costs.table import CostTable
from worker.engine.decompose import Factorisation
from worker.engine.decompose.channels import CHANNELS, Channels
from worker.engine.model import CostProfile, Model, Site
from worker.engine.numerics import device
from worker.engine.numerics.convolution import Array
from worker.engine.numerics.moments import WIDE, Moments
from worker.engine.numerics.symmetric import Symmetric, bands_of
from worker.engine.selection.candidate_costs import cost_of_rank, original, with_time
from worker.engine.selection.candidates import Candidate, SiteCandidates
from worker.engine.selection.channels.paths import ChannelPath, channel_paths
from worker.engine.selection.enumeration import factorisations
from worker.engine.selection.input_statistics import Uncalibrated

if (
    TYPE_CHECKING
):  # torch takes more than a second to import, and calibrated analyses alone need it
    import torch

    from worker.engine.calibration.calibrate import Calibration
    from worker.engine.calibration.judging_inputs import JudgingInputs
    from worker.engine.calibration.replay import Batch

Parts = tuple[
    tuple[SiteCandidates, ...],
    Mapping[str, float],
    "Calibration | Uncalibrated",
    Mapping[str, ChannelPath],
]
"""The parts of an analysis: candidates, error weights, input statistics, paths of channels."""

_ABOUT = "about"
_MALFORMED = (
    OSError,
    SafetensorError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""The errors of reading a file with any content whatever."""


def write(
    sites: Sequence[SiteCandidates],
    weights: Mapping[str, float],
    calibration: "Calibration | Uncalibrated",
    path: Path,
    largest: int,
) -> None:
    """Write an analysis, unless its arrays exceed `largest` bytes or the disk has no room."""
    arrays: dict[str, Array] = {}
    about = {
        "sites": [_packed_site(each) for each in sites],
        "weights": dict(weights),
        "calibration": _packed_statistics(calibration, arrays),
    }
    if sum(array.nbytes for array in arrays.values()) > largest:
        return
    try:
        save_file(arrays, path, {_ABOUT: json.dumps(about)})
    except (OSError, SafetensorError):
        # the file only saves time: a job does not fail for it
        path.unlink(missing_ok=True)


def read(
    path: Path, model: Model, profile: CostProfile, table: CostTable | None = None
) -> Parts | None:
    """Return the parts of an analysis of this model, with times by the table; None if unusable."""
    try:
        with safe_open(path, "np") as file:
            about = json.loads(file.metadata()[_ABOUT])
            sites = {site.name: site for site in profile.sites}
            statistics = _statistics(about["calibration"], file, model, sites)
            paths = _paths(statistics, model, profile.sites, about["sites"])
            rows = zip(profile.sites, about["sites"], strict=True)
            candidates = tuple(
                _site_candidates(site, table, paths, *row) for site, row in rows
            )
            weights = {}
            for name, weight in about["weights"].items():
                if name in sites:
                    weights[name] = _non_negative(weight)
            return candidates, weights, statistics, paths
    except _MALFORMED:
        return None


def _paths(
    statistics: "Calibration | Uncalibrated",
    model: Model,
    sites: Sequence[Site],
    packed: Sequence[Sequence[Any]],
) -> Mapping[str, ChannelPath]:
    """Return the paths of channels, where packed sites may lose some.

    They are those of the model's program: the file has none.
    """
    forms: set[str] = set()
    for _, _, rows in packed:
        forms.update(row[0] for row in rows)
    if isinstance(statistics, Uncalibrated) or CHANNELS not in forms:
        return {}
    return channel_paths(statistics.program, sites, model)


def _packed_site(site: SiteCandidates) -> list[Any]:
    rows = [
        [each.form, each.variant, each.rank, each.error] for each in site.candidates[1:]
    ]
    return [site.site.name, site.reason, rows]


def _site_candidates(
    site: Site,
    table: CostTable | None,
    paths: Mapping[str, ChannelPath],
    name: str,
    reason: str | None,
    rows: Sequence[Sequence[Any]],
) -> SiteCandidates:
    """Return a site's candidates; the costs are computed, not read."""
    if name != site.name or not isinstance(reason, str | None):
        raise ValueError(name)
    known = {}
    if rows:
        offered: list[Factorisation] = list(factorisations(site))
        if site.name in paths and site.convolution is not None:
            offered.append(Channels.of(site.convolution))
        for factorisation in offered:
            key = factorisation.form, factorisation.variant
            known[key] = factorisation, cost_of_rank(site, factorisation)
    candidates = [original(site, table)]
    for form, variant, rank, error in rows:
        factorisation, cost = known[form, variant]
        own_rank = tuple(rank) if isinstance(rank, list) else rank
        # True and 1.0 are equal to the rank 1, but are none
        if isinstance(own_rank, bool | float) or own_rank not in factorisation.ranks:
            raise ValueError(f"{form} has no rank {rank}")
        macs, parameters = cost(own_rank)
        candidate = Candidate(
            macs, parameters, _non_negative(error), factorisation, own_rank
        )
        candidates.append(with_time(site, candidate, table))
    return SiteCandidates(site, tuple(candidates), reason)


def _non_negative(number: object) -> float:
    if not isinstance(number, float | int) or not isfinite(number) or number < 0:
        raise ValueError(str(number))
    return float(number)


def _statistics(
    packed: object,
    file: Any,  # noqa: ANN401 - the library has no type for it
    model: Model,
    sites: Mapping[str, Site],
) -> "Calibration | Uncalibrated":
    if isinstance(packed, dict):
        return _unpack(packed, file, model, sites)
    return Uncalibrated(str(packed))


def _packed_statistics(
    statistics: "Calibration | Uncalibrated", arrays: dict[str, Array]
) -> str | dict[str, Any]:
    if isinstance(statistics, Uncalibrated):
        return statistics.reason
    return _pack(statistics, arrays)


def _pack(calibration: "Calibration", arrays: dict[str, Array]) -> dict[str, Any]:
    """Add a calibration's arrays to `arrays`, and return the rest of it."""
    measured = calibration.moments
    for at, moments in enumerate(measured.by_site.values()):
        assert moments.held is not None  # measured moments have covariances
        arrays[f"mean {at}"] = moments.mean
        for number, band in enumerate(moments.held.bands):
            arrays[f"covariance {at} {number}"] = band
    for at, (mean, variance) in enumerate(measured.batchnorm.values()):
        arrays[f"norm mean {at}"] = mean.numpy(force=True)
        arrays[f"norm variance {at}"] = variance.numpy(force=True)
    channels_last: list[str] = []
    return {
        "moments": list(measured.by_site),
        "statistics": list(measured.batchnorm),
        "batches": _pack_batches("fitted", calibration.batches, arrays, channels_last),
        "held_out": _pack_batches(
            "held out", calibration.held_out, arrays, channels_last
        ),
        "judging": _pack_judging(calibration.judging, arrays, channels_last),
        "channels_last": channels_last,
        "sample_macs": calibration.sample_macs,
        "batch": calibration.batch,
        "smallest_batch": calibration.smallest_batch,
        "image_names": list(calibration.image_names),
        "device": device.chosen(),
        "account": dict(calibration.report_members),
    }


def _pack_batches(
    kind: str,
    batches: Sequence["Batch"],
    arrays: dict[str, Array],
    channels_last: list[str],
) -> int:
    """Add batches to `arrays`, and return their number.

    Safetensors holds arrays in row-major order alone: the names of others go to `channels_last`.
    """
    for at, batch in enumerate(batches):
        for name, tensor in batch.items():
            key = f"{kind} {at} {name}"
            arrays[key] = np.ascontiguousarray(tensor.numpy(force=True))
            if not tensor.is_contiguous():
                channels_last.append(key)
    return len(batches)


def _pack_judging(
    judging: "JudgingInputs", arrays: dict[str, Array], channels_last: list[str]
) -> dict[str, Any]:
    """Add the batches of all groups to `arrays`, and return the rest."""
    groups = []
    for at, (name, batches) in enumerate(judging.groups.items()):
        number = _pack_batches(f"judging {at}", batches, arrays, channels_last)
        groups.append([name, number])
    return {
        "source": judging.source,
        "groups": groups,
        "doubts": list(judging.doubts),
        "like_truth": judging.like_truth,
        "quiet": judging.quiet,
    }


class _Tensors:
    """The arrays of a file, checked, and as tensors on the job's device."""

    def __init__(self, file: Any, channels_last: set[str]) -> None:  # noqa: ANN401 - as above
        self._file = file
        self._channels_last = channels_last

    def array(self, key: str) -> Array:
        """Return an array of finite numbers."""
        array: Array = self._file.get_tensor(key)
        if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
            raise ValueError(key)
        return array

    def band(self, at: int, number: int) -> Array:
        """Return one band of a covariance."""
        return self.array(f"covariance {at} {number}")

    def tensor(self, key: str) -> "torch.Tensor":
        """Return a tensor in the memory format that it had."""
        import torch

        tensor = device.placed(torch.from_numpy(self.array(key)))
        if key in self._channels_last:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def batches(
        self, kind: str, count: int, names: Sequence[str]
    ) -> tuple["Batch", ...]:
        """Return `count` batches of a kind, each with these inputs."""
        return tuple(self._batch(f"{kind} {at}", names) for at in range(count))

    def _batch(self, key: str, names: Sequence[str]) -> "Batch":
        return {name: self.tensor(f"{key} {name}") for name in names}


def _unpack(
    packed: dict[str, Any],
    file: Any,  # noqa: ANN401 - as above
    model: Model,
    sites: Mapping[str, Site],
) -> "Calibration":
    """Return the calibration of the model that a file describes.

    Raises:
        ValueError, TypeError, LookupError: it is none of this model.
    """
    from worker.engine.calibration.calibrate import Calibration
    from worker.engine.calibration.statistics.covariance import MeasuredMoments

    if packed["device"] not in (device.PROCESSOR, device.chosen()):
        raise ValueError(packed["device"])
    # not every model runs on the device that the job is to use
    device.choose(packed["device"])
    tensors = _Tensors(file, set(packed["channels_last"]))
    moments = {}
    for at, name in enumerate(packed["moments"]):
        band = partial(tensors.band, at)
        moments[name] = _moments(sites[name], tensors.array(f"mean {at}"), band)
    statistics = {}
    for at, name in enumerate(packed["statistics"]):
        mean, variance = f"norm mean {at}", f"norm variance {at}"
        statistics[name] = tensors.tensor(mean), tensors.tensor(variance)
    report_members = dict(packed["account"])
    report_members["notes"] = [str(note) for note in report_members["notes"]]
    with device.computing():
        program = model.program()
    names = [spec.name for spec in model.inputs]
    return Calibration(
        program,
        tensors.batches("fitted", packed["batches"], names),
        tensors.batches("held out", packed["held_out"], names),
        _judging(packed["judging"], tensors, names),
        MeasuredMoments(moments, statistics),
        int(packed["sample_macs"]),
        int(packed["batch"]),
        int(packed["smallest_batch"]),
        tuple(str(name) for name in packed["image_names"]),
        report_members,
    )


def _judging(
    packed: Mapping[str, Any], tensors: _Tensors, names: Sequence[str]
) -> "JudgingInputs":
    """Return the inputs to judge an artifact by.

    Raises:
        ValueError, TypeError, LookupError: they are not as `_pack_judging` writes them.
    """
    from worker.engine.calibration.judging_inputs import JudgingInputs

    groups = {}
    for at, (name, number) in enumerate(packed["groups"]):
        groups[str(name)] = tensors.batches(f"judging {at}", number, names)
    if not groups or not all(groups.values()):
        raise ValueError("groups")
    doubts = tuple(str(doubt) for doubt in packed["doubts"])
    source = SOURCES[SOURCES.index(packed["source"])]
    flags = (bool(packed["like_truth"]), bool(packed["quiet"]))
    return JudgingInputs(source, groups, doubts, *flags)


def _moments(site: Site, mean: Array, band: Callable[[int], Array]) -> Moments:
    """Return a site's moments, with the shapes and dtypes that they are measured in.

    Raises:
        ValueError: they have others.
    """
    if site.convolution is None:
        raise ValueError(site.name)
    groups = site.convolution.groups
    size = site.convolution.patch
    spans = bands_of(size)
    numbers = range(len(spans))
    bands = tuple(map(band, numbers))
    shapes = [each.shape for each in bands]
    expected = [(groups, end - start, end) for start, end in spans]
    if mean.shape != (groups, size) or shapes != expected:
        raise ValueError(site.name)
    double = np.dtype(np.float64)
    single = np.dtype(np.float32)
    narrowest = single if size > WIDE else double
    dtypes = {each.dtype for each in bands}
    if mean.dtype != double or dtypes not in ({double}, {narrowest}):
        raise ValueError(site.name)
    return Moments(mean, Symmetric(bands))
