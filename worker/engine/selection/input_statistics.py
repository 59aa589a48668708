"""Statistics of a model's inputs: a calibration, or the reason why there is none.

torch, which takes more than a second to import, is imported where a model is calibrated, and not
before: an ONNX model that is compressed by its weights needs none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convpress.calibration import (
    choose_calibration,
    parse_calibration,
    parse_input_values,
)
from convpress.phases import Phase
from convpress.refusal import Code, Refusal
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.model import Model, OpenedModel, Site
from worker.engine.numerics import device
from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.moments import Moments
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.selection.candidates import SiteCandidates

if TYPE_CHECKING:
    from worker.engine.calibration.calibrate import Calibration

NOT_ASKED_FOR = "the request asks for no calibration"
_WIDEST_PATCH = 4608
"""512 channels of 3 x 3, whose covariance takes 170 MB, growing with the square of a patch.

Wider sites are factored by their weights alone.
"""


@dataclass(frozen=True)
class Uncalibrated:
    """The reason why nothing is known of a model's inputs, for the report."""

    reason: str


def measure_statistics(
    request: Request,
    opened: OpenedModel,
    progress: Progress,
    effort: Effort | None = None,
    *,
    with_moments: bool = True,
    phase: Phase = "measuring",
) -> "Calibration | Uncalibrated":
    """Calibrate a model as the request says, with the moments of its sites unless they are spared.

    Without an effort, it is the usual one. `phase` is the present one, which is weighed anew when
    the work is known.

    Raises:
        Refusal: the request's calibration, samples or input values cannot be read, or the model
            cannot be calibrated on the samples.
    """
    has_samples = request.samples is not None
    kind = choose_calibration(
        parse_calibration(request.calibration), samples=has_samples
    )
    values = parse_input_values(
        request.input_range, request.input_mean, request.input_std
    )
    if kind == "none":
        return Uncalibrated(NOT_ASKED_FOR)
    from worker.engine.calibration.calibrate import calibrate
    from worker.engine.calibration.harness import WeakCalibrationError
    from worker.engine.calibration.inputs.photographs import load_scenes
    from worker.engine.calibration.inputs.samples_file import read_samples

    model, shapes, macs = opened.model, opened.shapes, opened.profile.macs
    # samples are read before anything runs: a refusal of them is quick
    samples = None
    if request.samples is not None:
        samples = read_samples(Path(request.samples), model.inputs, shapes)
    convolutions = _measurable(opened.profile.sites) if with_moments else {}
    scenes = load_scenes(
        None if request.photographs is None else Path(request.photographs)
    )

    measure = calibrate if effort is None else partial(calibrate, effort=effort)
    # a unit of work is a run on as many images as layers are fitted to
    images = (effort or DEFAULT_EFFORT).most_images
    share_of_images = images / DEFAULT_EFFORT.most_images

    def tell(part: float) -> None:
        progress.within(part, 1)

    def weigh(runs: float) -> None:
        progress.weigh({phase: runs * share_of_images})

    reason = ""
    # some models create tensors of their own on the processor: they run there alone
    for name in dict.fromkeys((device.chosen(), device.PROCESSOR)):
        device.choose(name)
        try:
            with device.computing():
                return measure(
                    model,
                    shapes,
                    convolutions,
                    macs,
                    values,
                    samples,
                    tell,
                    scenes=scenes,
                    weigh=weigh,
                )
        except WeakCalibrationError as error:
            reason = str(error)
    # whoever sends samples relies on them: the weights alone would be another job
    if samples is not None:
        raise Refusal(
            Code.SAMPLES_INVALID,
            f"the samples cannot be used: {reason}",
            field="samples",
            expected="a model that can be calibrated, or no samples and calibration=none, which "
            "compresses the model by its weights alone",
            got="samples",
        )
    return Uncalibrated(reason)


def moments_of(statistics: "Calibration | Uncalibrated", site: Site) -> Moments | None:
    """Return the moments of a site's inputs; None where they were not measured."""
    if isinstance(statistics, Uncalibrated):
        return None
    return statistics.moments.by_site.get(site.name)


def without_moments(
    statistics: "Calibration | Uncalibrated",
) -> "Calibration | Uncalibrated":
    """Return statistics without the moments, which take most of their memory."""
    if isinstance(statistics, Uncalibrated):
        return statistics
    moments = replace(statistics.moments, by_site={})
    return replace(statistics, moments=moments)


def error_weights(
    model: Model,
    sites: Sequence[SiteCandidates],
    statistics: "Calibration | Uncalibrated",
    tell: Callable[[float], object],
) -> Mapping[str, float]:
    """Return the share of each site's error that arrives at the outputs, by the site's name.

    It is empty where the model was not calibrated: all sites then weigh the same. `tell` receives
    the share of the sites that are weighed.
    """
    if isinstance(statistics, Uncalibrated):
        return {}
    from worker.engine.calibration.statistics.sensitivity import sensitivities, trials

    layers = {each.site.name: partial(model.layer, each.site) for each in sites}
    # a site that stays in any case needs no weight, and measuring one takes runs of the model
    trials_by_site = {}
    for each in sites:
        if len(each.candidates) > 1:
            moments = moments_of(statistics, each.site)
            trials_by_site[each.site.name] = trials(
                each, layers[each.site.name], moments
            )
    with device.computing():
        return sensitivities(
            statistics, trials_by_site, lambda name: layers[name](), tell=tell
        )


def _measurable(sites: Sequence[Site]) -> dict[str, Convolution]:
    """Return the convolutions of the replaceable sites whose moments fit into memory."""
    return {
        site.name: site.convolution
        for site in sites
        if site.reason is None
        and site.convolution is not None
        and site.convolution.patch <= _WIDEST_PATCH
    }
