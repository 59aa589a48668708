"""Advise: compress a model in several ways, time all of them in turn, and say which is best here.

The ways are low rank in float at three budgets, int8 alone, and both. The analysis is made once.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from convpress import risk_levels
from convpress.budgets import FLOPS
from convpress.formats import Format
from convpress.precision import FLOAT, INT8, Precision
from convpress.refusal import Refusal
from convpress.report import Report
from convpress.report.advice import Advice, AdvisedOption
from convpress.text.quantities import percent
from worker.engine.formats import adapter_of, load_runner, open_model, readable
from worker.engine.model import Inputs, Runner
from worker.engine.numerics.random_inputs import random_inputs
from worker.engine.progress import Emit
from worker.engine.report import file
from worker.engine.request import Request
from worker.engine.stages.opening import bound
from worker.engine.timing import time_in_turn

Compress = Callable[[Request, Emit], None]
"""Compresses a model by a request."""

_FASTER = 0.95
"""The largest share of the time that counts as faster: times of equal models differ by less."""
_WORTH_MORE = 0.9
"""The share of the time of a simpler way below which another step is worth its loss."""
_MOST_LOST = 0.01
"""The share of right answers that a step beyond int8 alone may be expected to cost."""
_ACCEPTABLE = ("low", "moderate", "unknown")
"""Levels of risk in the order of preference; what has a high one is never advised."""
_LARGEST_ANALYSIS = 2**32
_MOST_TOGETHER = 2**30
"""Bytes of files that are in memory at once while they are timed."""
_INT8_ELSEWHERE = (
    "Int8 was not tried, since it is for ONNX models: "
    "export the model to ONNX to compare it."
)


@dataclass(frozen=True)
class _Way:
    """A way to compress a model: its name, and what a job asks for."""

    name: str
    precision: Precision
    keep: str | None


WAYS = (
    _Way("low rank at 70 %", FLOAT, "0.7"),
    _Way("low rank at 50 %", FLOAT, "0.5"),
    _Way("low rank at 30 %", FLOAT, "0.3"),
    _Way("int8 alone", INT8, None),
    _Way("both at 50 %", INT8, "0.5"),
)


def advise(request: Request, emit: Emit, compress: Compress) -> None:
    """Write the advice on a model to the request's report path; its budgets do not count.

    Raises:
        Refusal: the model or an option cannot be used, whatever the way.
    """
    folder = Path(request.output).parent
    reports: dict[str, Report] = {}
    refusals: dict[str, Refusal] = {}
    for position, way in enumerate(WAYS):
        own = _request(request, folder, way)

        def within(phase: str, fraction: float, position: int = position) -> None:
            emit(phase, (position + fraction) / len(WAYS))  # type: ignore[arg-type]  # a phase

        try:
            compress(own, within)
        except Refusal as refusal:
            refusals[way.name] = refusal
            continue
        reports[way.name] = Report.model_validate(
            json.loads(Path(own.report).read_text())
        )
    if not reports:
        raise refusals[WAYS[0].name]
    original, times = _times(request, folder, reports)
    options = [_option(way, reports, refusals, times, original) for way in WAYS]
    choice, text = chosen(options, request.format)
    advice = Advice(
        format=request.format,
        bytes=Path(request.model).stat().st_size,
        milliseconds=original,
        options=options,
        choice=choice,
        text=text,
    )
    file.write(request.report, asdict(advice))


def chosen(
    options: Sequence[AdvisedOption], model_format: Format = "onnx"
) -> tuple[str | None, str]:
    """Return the name of the advised option, None for the model as it is, and the advice.

    Of the options that are faster and not of a high risk, those of the best level count. The
    fastest is advised, unless int8 alone is nearly as fast, or loses clearly fewer right answers.
    A model of a format without int8 is told so.
    """
    choice, text = _chosen(options)
    return choice, text if adapter_of(
        model_format
    ).int8 else f"{text} {_INT8_ELSEWHERE}"


def _chosen(options: Sequence[AdvisedOption]) -> tuple[str | None, str]:
    faster = [
        each
        for each in options
        if each.time_kept is not None and each.time_kept < _FASTER
    ]
    near = [each for each in faster if not _is_far_off(each)]
    for level in _ACCEPTABLE:
        at_level = [each for each in near if each.risk == level]
        if at_level:
            return _best(at_level, options)
    if not faster:
        return None, "Leave it as it is: nothing that was tried is faster on this host."
    return (
        None,
        "Leave it as it is: all that is faster on this host has a high risk, or differs much.",
    )


def _is_far_off(option: AdvisedOption) -> bool:
    """Whether the outputs differ as much as those of a high risk, where no level says it."""
    if option.risk != "unknown" or option.relative_error is None:
        return False
    _, high = risk_levels.MEASURED
    return option.relative_error > high


def _best(
    candidates: Sequence[AdvisedOption], options: Sequence[AdvisedOption]
) -> tuple[str, str]:
    best = min(candidates, key=_time)
    alone = [
        each
        for each in candidates
        if each.precision == INT8 and each.flops_budget is None
    ]
    if alone and not _is_worth_it(best, alone[0]):
        best = alone[0]
    gain = 1 / _time(best)
    text = f"{_capital(best.name)}: {gain:.1f} times as fast"
    if best.expected_loss is not None:
        lost = round(best.expected_loss.expected, 4)
        loss = percent(lost)
        text += f", expected to lose {loss} of its right answers (risk {best.risk})"
    elif best.relative_error is not None:
        difference = percent(best.relative_error)
        text += f", its outputs differ by {difference} (risk {best.risk})"
    whole = best.precision == INT8 and best.flops_budget is None
    if whole:
        low_rank = _low_rank_adds(best, options)
        return best.name, f"{text}; {low_rank}."
    return best.name, f"{text}."


def _is_worth_it(option: AdvisedOption, alone: AdvisedOption) -> bool:
    """Whether an option is clearly faster than int8 alone, and loses few more right answers."""
    if _time(option) > _WORTH_MORE * _time(alone):
        return False
    if option.expected_loss is None or alone.expected_loss is None:
        return True
    return option.expected_loss.expected <= alone.expected_loss.expected + _MOST_LOST


def _low_rank_adds(alone: AdvisedOption, options: Sequence[AdvisedOption]) -> str:
    """Return a sentence on the gain of low rank over int8 alone."""
    for each in options:
        is_both = each.precision == INT8 and each.flops_budget is not None
        if not is_both:
            continue
        if each.time_kept is None:
            return "low rank was refused beside it"
        if each.time_kept < _WORTH_MORE * _time(alone):
            faster = _time(alone) / each.time_kept
            price = f"at the risk {each.risk}"
            if each.expected_loss is not None:
                lost = percent(round(each.expected_loss.expected, 4))
                price = f"expected to lose {lost} (risk {each.risk})"
            return f"together with low rank it is {faster:.1f} times as fast again, {price}"
    return "low rank adds nothing to it on this host"


def _request(request: Request, folder: Path, way: _Way) -> Request:
    """Return the request of one way.

    The first one keeps the analysis, perhaps an earlier job's, and the others start from it.
    """
    analysis = Path(request.kept_analysis or folder / "analysis")
    suffix = Path(request.output).suffix
    hyphenated = way.name.replace(" ", "-")
    stem = hyphenated.replace("%", "percent")
    budgets = {} if way.keep is None else {FLOPS.field: way.keep}
    earlier = str(analysis) if analysis.exists() else request.analysis
    return replace(
        request,
        budgets=budgets,
        precision=way.precision,
        output=str(folder / f"{stem}{suffix}"),
        report=str(folder / f"{stem}.json"),
        analysis=earlier,
        kept_analysis=str(analysis),
        largest_analysis=request.largest_analysis or _LARGEST_ANALYSIS,
    )


def _times(
    request: Request, folder: Path, reports: Mapping[str, Report]
) -> tuple[float, dict[str, float]]:
    """Return the milliseconds of the original and of each artifact, all run in turn.

    Where they are too large to be in memory together, each artifact runs in turn with the original.
    Its time is then the original's first one times the ratio of the two.
    """
    paths = [
        Path(_request(request, folder, way).output)
        for way in WAYS
        if way.name in reports
    ]
    with readable(request.format, Path(request.model)) as source:
        inputs = _inputs(request, source)
        load = partial(load_runner, request.format)
        sizes = [path.stat().st_size for path in (source, *paths)]
        size = sum(sizes)
        if size <= _MOST_TOGETHER:
            runners = list(map(load, (source, *paths)))
            original, *medians = _medians(runners, inputs)
        else:
            pairs = [_medians([load(source), load(path)], inputs) for path in paths]
            original = pairs[0][0]
            medians = [original * after / max(before, 1e-9) for before, after in pairs]
    by_name = zip(reports, medians, strict=True)
    return original, dict(by_name)


def _medians(runners: Sequence[Runner], inputs: Inputs) -> list[float]:
    """Return the median milliseconds of the processor of each model, all run in turn."""
    for run in runners:
        run(inputs)
    return [each.processor.median_ms for each in time_in_turn(runners, inputs)]


def _inputs(request: Request, source: Path) -> Inputs:
    opened = bound(request, source, open_model(request.format, source))
    return random_inputs(opened.model.inputs, opened.shapes)


def _option(
    way: _Way,
    reports: Mapping[str, Report],
    refusals: Mapping[str, Refusal],
    times: Mapping[str, float],
    original: float,
) -> AdvisedOption:
    if way.name in refusals:
        return AdvisedOption(
            name=way.name,
            precision=way.precision,
            flops_budget=way.keep,
            refusal=refusals[way.name].detail,
        )
    account = reports[way.name]
    return AdvisedOption(
        name=way.name,
        precision=way.precision,
        flops_budget=way.keep,
        keep=account.keep,
        bytes=account.after.bytes,
        milliseconds=times[way.name],
        time_kept=times[way.name] / max(original, 1e-9),
        relative_error=account.verification.relative_error,
        agreement=account.verification.agreement,
        risk=account.risk.level,
        expected_loss=account.risk.expected_loss,
    )


def _time(option: AdvisedOption) -> float:
    assert option.time_kept is not None  # only measured options are compared
    return option.time_kept


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
