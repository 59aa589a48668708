"""The analysis of a model: every site's candidates, and the weights of their errors.

It depends on no budget. A second budget on the same model starts from here, and choosing takes
milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convpress.formats import Format
from worker.engine.costs.table import CostTable
from worker.engine.decompose.channels import CHANNELS
from worker.engine.formats import adapter_of
from worker.engine.model import CostProfile, OpenedModel, Site, by_execution_path
from worker.engine.phase_weights import (
    BY_WEIGHTS,
    CHOSEN,
    CHOSEN_BY_WEIGHTS,
    factoring_work,
)
from worker.engine.progress import Progress, shares_before
from worker.engine.request import Request
from worker.engine.selection import analysis_file
from worker.engine.selection.candidates import (
    Candidate,
    SiteCandidates,
    total_nanoseconds,
)
from worker.engine.selection.channels.enumeration import add_channels
from worker.engine.selection.channels.paths import ChannelPath, channel_paths
from worker.engine.selection.enumeration import (
    candidates_at_rank,
    candidates_of_forms,
    original_only,
)
from worker.engine.selection.few_channels import is_concerned, is_slower
from worker.engine.selection.input_statistics import (
    Uncalibrated,
    error_weights,
    measure_statistics,
    moments_of,
    without_moments,
)

if TYPE_CHECKING:
    from worker.engine.calibration.calibrate import Calibration

UNCHANGED = "the budget allows the model as it is"
NO_BUDGET = "no budget asks to factor it"


@dataclass(frozen=True)
class Analysis:
    """The candidates of all sites, the weight of each site's error, and the input statistics.

    `weights` maps a site's name to the share of its error that arrives at the outputs. `table` is
    the cost table that the times are from. `reused` says whether an earlier job has made it.
    `model_format` tells, where no table decides, which candidates are slower than their site; None
    for a format of which nothing is known. `paths` are those along which channels can be lost, by
    the site that takes them.
    """

    candidates: tuple[SiteCandidates, ...]
    weights: Mapping[str, float]
    calibration: "Calibration | Uncalibrated"
    table: CostTable | None = None
    reused: bool = False
    model_format: Format | None = None
    paths: Mapping[str, ChannelPath] = field(default_factory=dict)

    @property
    def sites(self) -> list[Site]:
        """The sites, in the order of their candidates."""
        return [each.site for each in self.candidates]

    @property
    def originals(self) -> list[Candidate]:
        """The sites as they are."""
        return [each.original for each in self.candidates]

    @property
    def macs(self) -> int:
        """The multiply-accumulates of the original."""
        return self.macs_of(self.originals)

    @property
    def nanoseconds(self) -> int | None:
        """The time of the original's sites; None without a table."""
        return self.nanoseconds_of(self.originals)

    def is_slower_by_rule(self, site: Site, candidate: Candidate) -> bool:
        """Whether a candidate takes longer than its site, by the rule for jobs without a table."""
        # the layers of thousands of candidates are not listed in vain
        if self.model_format is None or not is_concerned(site):
            return False
        return is_slower(site, candidate.convolutions, self.model_format)

    def macs_of(self, choice: Sequence[Candidate]) -> int:
        """Return the multiply-accumulates of a choice, along the path that costs most."""
        return max(
            by_execution_path(self.sites, [candidate.macs for candidate in choice])
        )

    def nanoseconds_of(self, choice: Sequence[Candidate]) -> int | None:
        """Return the time of a choice's priced layers by the table; None without a table."""
        if self.table is None:
            return None
        return total_nanoseconds(self.candidates, choice)

    def weighted_error(self, site: Site, candidate: Candidate) -> float:
        """Return a candidate's share of the relative error of the outputs, squared."""
        return candidate.error * self.weights.get(site.name, 1.0) + candidate.int8_error

    def predicted_error(self, choice: Sequence[Candidate]) -> float:
        """Return the relative error of the outputs, squared: the sum over the sites."""
        pairs = zip(self.sites, choice, strict=True)
        return sum(self.weighted_error(site, candidate) for site, candidate in pairs)

    def without_paths(self) -> "Analysis":
        """Return the analysis of a model whose sites keep all channels."""
        if not self.paths:
            return self
        candidates = tuple(each.without_form(CHANNELS) for each in self.candidates)
        return replace(self, candidates=candidates, paths={})

    def without_moments(self) -> "Analysis":
        """Return the analysis without the moments, which only factoring needs."""
        return replace(self, calibration=without_moments(self.calibration))


def analyse(
    request: Request,
    opened: OpenedModel,
    progress: Progress,
    table: CostTable | None = None,
) -> Analysis:
    """Calibrate a model and list every site's candidates, or read both from an earlier job's file.

    Raises:
        Refusal: the request's calibration, samples or input values cannot be read.
    """
    if request.analysis is not None:
        path = Path(request.analysis)
        parts = analysis_file.read(path, opened.model, opened.profile, table)
        if parts is not None:
            progress.enter("allocating")
            candidates, weights, statistics, paths = parts
            is_uncalibrated = isinstance(statistics, Uncalibrated)
            progress.weigh(CHOSEN_BY_WEIGHTS if is_uncalibrated else CHOSEN)
            return Analysis(
                candidates,
                weights,
                statistics,
                table,
                reused=True,
                model_format=request.format,
                paths=paths,
            )
    analysis = _analysed(request, opened, progress, table)
    if request.kept_analysis is not None:
        analysis_file.write(
            analysis.candidates,
            analysis.weights,
            analysis.calibration,
            Path(request.kept_analysis),
            request.largest_analysis,
        )
    return analysis


def unchanged_analysis(
    profile: CostProfile, table: CostTable | None = None, reason: str = UNCHANGED
) -> Analysis:
    """Return the analysis of a model that stays as it is: every site's original alone."""
    candidates = tuple(original_only(site, reason, table) for site in profile.sites)
    return Analysis(candidates, {}, Uncalibrated(reason), table)


def _analysed(
    request: Request,
    opened: OpenedModel,
    progress: Progress,
    table: CostTable | None,
) -> Analysis:
    progress.enter("measuring")
    statistics = measure_statistics(request, opened, progress)
    if isinstance(statistics, Uncalibrated):
        progress.weigh(BY_WEIGHTS)
    progress.enter("factoring")
    sites = opened.profile.sites
    paths = _paths(request, opened, statistics)
    candidates = []
    shares = shares_before([factoring_work(site.weight_shape) for site in sites])
    for share, site in zip(shares, sites, strict=True):
        progress.within(share, 1)
        candidates.append(_candidates(request, opened, site, statistics, table))
    with_channels = add_channels(
        opened.model,
        candidates,
        paths,
        statistics,
        table,
        aligned=_aligned(request, table),
    )
    progress.enter("allocating")
    # the weights come last: they are measured with layers of the candidates
    weights = error_weights(
        opened.model,
        with_channels,
        statistics,
        lambda part: progress.within(part, 1),
    )
    return Analysis(
        tuple(with_channels),
        weights,
        statistics,
        table,
        model_format=request.format,
        paths=paths,
    )


def _paths(
    request: Request, opened: OpenedModel, statistics: "Calibration | Uncalibrated"
) -> Mapping[str, ChannelPath]:
    """Return the paths along which channels can be lost, in a job that offers all forms."""
    is_whole_choice = request.form is None and request.rank is None
    if isinstance(statistics, Uncalibrated) or not is_whole_choice:
        return {}
    return channel_paths(statistics.program, opened.profile.sites, opened.model)


def _aligned(request: Request, table: CostTable | None) -> bool:
    """Whether wide layers get only numbers of channels that fill whole blocks of the runtime."""
    return table is not None or adapter_of(request.format).aligned_ranks


def _candidates(
    request: Request,
    opened: OpenedModel,
    site: Site,
    statistics: "Calibration | Uncalibrated",
    table: CostTable | None,
) -> SiteCandidates:
    moments = moments_of(statistics, site)
    if request.rank is not None:
        form = request.form or "dac"
        return candidates_at_rank(
            opened.model, site, form, request.rank, moments, table
        )
    return candidates_of_forms(
        opened.model,
        site,
        request.form,
        moments,
        table,
        aligned=_aligned(request, table),
        model_format=request.format,
    )
