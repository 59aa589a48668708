"""One compression or inspection, from file to file: the engine's stages in order."""

from pathlib import Path

from convpress.evaluation import AGREEMENT
from worker.engine.formats import readable
from worker.engine.numerics import device, parallel
from worker.engine.progress import Emit, Progress
from worker.engine.request import Request
from worker.engine.stages.accepting import require_accepted
from worker.engine.stages.dequantising import in_float
from worker.engine.stages.evaluating import evaluate_original, require_classes
from worker.engine.stages.opening import inspect_file, open_for_compression
from worker.engine.stages.planning import plan, refit
from worker.engine.stages.quantising import quantise
from worker.engine.stages.reporting import write_report
from worker.engine.stages.searching import Produced, promise_of, search_for
from worker.engine.stages.verifying import verify
from worker.engine.stages.writing import WrittenArtifact, write_artifact


def compress(request: Request, emit: Emit) -> None:
    """Compress a model, and write the artifact and the report to the paths of the request.

    Raises:
        Refusal: the model, the budget, the calibration or the input shape cannot be used, the
            device is not there, or the artifact exceeds the limits on a model.
    """
    device.choose(request.device)
    parallel.choose(request.job_threads)
    progress = Progress(emit)
    with readable(request.format, Path(request.model)) as source:
        evaluation = evaluate_original(request, source, progress)

        def produce(request: Request) -> Produced:
            artifact = quantise(request, _produce(request, source, progress))
            return Produced(
                artifact, verify(request, source, artifact, progress, evaluation)
            )

        promise = promise_of(request, evaluation)
        if promise is None:
            search = None
            produced = produce(request)
        else:
            if promise.metric == AGREEMENT:
                require_classes(request, source, progress)
            search = search_for(promise, request, progress, produce)
            produced = search.produced
    require_accepted(request)
    write_report(request, produced.artifact, produced.verification, progress, search)


def _produce(request: Request, source: Path, progress: Progress) -> WrittenArtifact:
    """Write the artifact; the opened model and the plan, with all weights, die here."""
    with in_float(request, source) as floats:
        opened = open_for_compression(request, source, floats, progress)
        # the plan before the refit has no name here: what the refit replaces is freed at once
        refitted = refit(opened, plan(request, opened, progress), progress)
        return write_artifact(request, opened, refitted, progress)


def inspect(request: Request, emit: Emit) -> None:
    """Write the inspection of a model to the report path of the request.

    The costs are in it where the input shape is known.

    Raises:
        Refusal: the model cannot be opened, or does not take the input shape.
    """
    with readable(request.format, Path(request.model)) as source:
        inspect_file(request, source, Progress(emit))
