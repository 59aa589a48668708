"""A bar on standard error that follows the engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.sandbox.messages import Progress


@contextmanager
def engine_bar() -> Iterator[Callable[["Progress"], None]]:
    """Show a bar on standard error until the block ends."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    from worker.cli.bars.progress_bar import LEFT, left
    from worker.time_left import TimeLeft

    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        TimeElapsedColumn(),
        LEFT,
    )
    time_left = TimeLeft()
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=1.0, left="")

        def show(progress: "Progress") -> None:
            time_left.note(progress.phase, progress.fraction)
            bar.update(
                task,
                description=progress.phase,
                completed=progress.fraction,
                left=left(time_left.seconds()),
            )

        yield show
        bar.update(task, description="done", completed=1.0, left="")
