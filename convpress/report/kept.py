"""The shares of a model's costs that a compression kept, a function a kind of budget."""

from convpress.report.compression import Report


def macs_kept(report: Report) -> float:
    """Return the fraction of the multiply-accumulates that a job kept."""
    return report.keep


def time_kept(report: Report) -> float:
    """Return the fraction of the time that a job kept: by the cost table, else as measured.

    A report without any time gives the fraction of the multiply-accumulates.
    """
    before, after = measured_ms(report)
    if report.latency is not None:
        before, after = (
            report.latency.predicted_before_ms,
            report.latency.predicted_after_ms,
        )
    # A time of 0 is that of a model whose sites have no price.
    if not before:
        return report.keep
    return (after or 0.0) / before


def measured_ms(report: Report) -> tuple[float | None, float | None]:
    """Return the median times of a run before and after: the processor's where they are known."""
    if report.timing is None:
        return report.before.latency_ms, report.after.latency_ms
    return (
        report.timing.before.processor.median_ms,
        report.timing.after.processor.median_ms,
    )


def parameters_kept(report: Report) -> float:
    """Return the fraction of the parameters that a job kept."""
    return report.after.parameters / max(report.before.parameters, 1)


def bytes_kept(report: Report) -> float:
    """Return the fraction of the file's bytes that a job kept."""
    return report.after.bytes / max(report.before.bytes, 1)
