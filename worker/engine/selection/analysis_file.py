"""An analysis as a file, so that a second budget on the same model skips to the allocation.

Numbers only, in safetensors' format: nothing is unpickled. What a file says is held against the model before it is
believed, since a child wrote it in which that model had run: whatever does not fit makes it no file at all.
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

from worker.engine.costs.table import CostTable
from worker.engine.model import CostProfile, Model, Site
from worker.engine.numerics import device
from worker.engine.numerics.convolution import Array
from worker.engine.numerics.moments import WIDE, Moments
from worker.engine.numerics.symmetric import Symmetric, bands_of
from worker.engine.selection.candidates import (
    Candidate,
    Offer,
    costs,
    factorisations,
    original,
    priced_in_time,
)

if (
    TYPE_CHECKING
):  # torch, which takes more than a second to import, is for calibrated analyses alone
    from worker.engine.calibration.calibrate import Calibration
    from worker.engine.calibration.replay import Batch

_ABOUT = "about"
Found = tuple[tuple[Offer, ...], Mapping[str, float], "Calibration | str"]
"""The parts of an analysis."""


def write(
    offers: Sequence[Offer],
    weights: Mapping[str, float],
    calibration: "Calibration | str",
    path: Path,
    largest: int,
) -> None:
    """Write an analysis, unless its arrays take more than `largest` bytes or the disk has no room for them."""
    arrays: dict[str, Array] = {}
    about = {
        "sites": [
            [
                offer.site.name,
                offer.reason,
                [[c.form, c.variant, c.rank, c.error] for c in offer.candidates[1:]],
            ]
            for offer in offers
        ],
        "weights": dict(weights),
        "calibration": calibration if isinstance(calibration, str) else _pack(calibration, arrays),
    }
    if sum(array.nbytes for array in arrays.values()) > largest:
        return
    try:
        save_file(arrays, path, {_ABOUT: json.dumps(about)})
    except (OSError, SafetensorError):  # it only saves time
        path.unlink(missing_ok=True)


def read(
    path: Path, model: Model, count: CostProfile, table: CostTable | None = None
) -> Found | None:
    """Return the parts of an analysis of this model, priced by the table; None where it is none of it."""
    try:
        with safe_open(path, "np") as file:
            about = json.loads(file.metadata()[_ABOUT])
            named = zip(count.sites, about["sites"], strict=True)
            offers = tuple(_offer(site, table, *said) for site, said in named)
            sites = {site.name: site for site in count.sites}
            weights = {
                name: _size(share) for name, share in about["weights"].items() if name in sites
            }
            said = about["calibration"]
            return (
                offers,
                weights,
                str(said) if not isinstance(said, dict) else _unpack(said, file, model, sites),
            )
    except (
        OSError,
        SafetensorError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
    ):
        return None


def _offer(
    site: Site,
    table: CostTable | None,
    name: str,
    reason: str | None,
    said: Sequence[Sequence[Any]],
) -> Offer:
    """Return a site's offer; the costs are computed, not read."""
    if name != site.name or not isinstance(reason, str | None):
        raise ValueError(name)
    offered = (
        {(each.form, each.variant): (each, costs(site, each)) for each in factorisations(site)}
        if said
        else {}
    )
    found = [original(site, table)]
    for form, variant, rank, error in said:
        factorisation, cost = offered[form, variant]
        exact = tuple(rank) if isinstance(rank, list) else rank
        if isinstance(exact, bool | float) or exact not in factorisation.ranks:
            raise ValueError(f"{form} has no rank {rank}")
        candidate = Candidate(*cost(exact), _size(error), factorisation, exact)
        found.append(priced_in_time(site, candidate, table))
    return Offer(site, tuple(found), reason)


def _size(number: object) -> float:
    if not isinstance(number, float | int) or not isfinite(number) or number < 0:
        raise ValueError(str(number))
    return float(number)


def _pack(calibration: "Calibration", arrays: dict[str, Array]) -> dict[str, Any]:
    """Put a calibration's arrays among others, and return what they do not say."""
    observation = calibration.observation
    for at, moments in enumerate(observation.moments.values()):
        assert moments.held is not None  # observed moments have covariances
        arrays[f"mean {at}"] = moments.mean
        arrays |= {
            f"covariance {at} {number}": band for number, band in enumerate(moments.held.bands)
        }
    for at, pair in enumerate(observation.statistics.values()):
        arrays[f"norm mean {at}"], arrays[f"norm variance {at}"] = (
            part.numpy(force=True) for part in pair
        )
    turned: list[str] = []
    return {
        "moments": list(observation.moments),
        "statistics": list(observation.statistics),
        "batches": _pack_batches("fitted", calibration.batches, arrays, turned),
        "held_out": _pack_batches("held out", calibration.held_out, arrays, turned),
        "fresh": _pack_batches("fresh", calibration.fresh, arrays, turned),
        "channels_last": turned,
        "sample_macs": calibration.sample_macs,
        "batch": calibration.batch,
        "device": device.chosen(),
        "account": dict(calibration.account),
    }


def _pack_batches(
    kind: str, batches: Sequence["Batch"], arrays: dict[str, Array], turned: list[str]
) -> int:
    for at, batch in enumerate(batches):
        for name, tensor in batch.items():
            key = f"{kind} {at} {name}"
            arrays[key] = np.ascontiguousarray(tensor.numpy(force=True))
            if not tensor.is_contiguous():
                turned.append(key)
    return len(batches)


def _unpack(
    said: dict[str, Any],
    file: Any,  # noqa: ANN401 - the library has no type for it
    model: Model,
    sites: Mapping[str, Site],
) -> "Calibration":
    """Return a calibration of the model that a file describes.

    Raises:
        ValueError, TypeError, LookupError: it is none of this model.
    """
    import torch

    from worker.engine.calibration.calibrate import Calibration
    from worker.engine.calibration.statistics.covariance import Observation

    if said["device"] not in (device.PROCESSOR, device.chosen()):
        raise ValueError(said["device"])
    device.choose(said["device"])  # not every model runs where the job would have it run
    turned = set(said["channels_last"])

    def array(key: str) -> Array:
        found: Array = file.get_tensor(key)
        if found.dtype.kind not in "biuf" or not np.isfinite(found).all():
            raise ValueError(key)
        return found

    def banded(at: int, band: int) -> Array:
        return array(f"covariance {at} {band}")

    def tensor(key: str) -> torch.Tensor:
        found = device.placed(torch.from_numpy(array(key)))
        return found.contiguous(memory_format=torch.channels_last) if key in turned else found

    def batches(kind: str, count: int) -> tuple["Batch", ...]:
        return tuple(
            {spec.name: tensor(f"{kind} {at} {spec.name}") for spec in model.inputs}
            for at in range(count)
        )

    moments = {
        name: _moments(sites[name], array(f"mean {at}"), partial(banded, at))
        for at, name in enumerate(said["moments"])
    }
    statistics = {
        name: (tensor(f"norm mean {at}"), tensor(f"norm variance {at}"))
        for at, name in enumerate(said["statistics"])
    }
    account = dict(said["account"])
    account["notes"] = [str(note) for note in account["notes"]]
    with device.computing():
        program = model.program()
    return Calibration(
        program,
        batches("fitted", said["batches"]),
        batches("held out", said["held_out"]),
        batches("fresh", said["fresh"]),
        Observation(moments, statistics),
        int(said["sample_macs"]),
        int(said["batch"]),
        account,
    )


def _moments(site: Site, mean: Array, band: Callable[[int], Array]) -> Moments:
    if site.convolution is None:
        raise ValueError(site.name)
    groups = site.convolution.groups
    size = site.convolution.patch
    spans = bands_of(size)
    bands = tuple(band(number) for number in range(len(spans)))
    if mean.shape != (groups, size) or [each.shape for each in bands] != [
        (groups, b - a, b) for a, b in spans
    ]:
        raise ValueError(site.name)
    exact, single = np.dtype(np.float64), np.dtype(np.float32)
    if mean.dtype != exact or {each.dtype for each in bands} not in (
        {exact},
        {single if size > WIDE else exact},
    ):
        raise ValueError(site.name)
    return Moments(mean, Symmetric(bands))
