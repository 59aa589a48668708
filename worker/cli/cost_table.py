"""`convpress cost-table`: measure ONNX Runtime without the service, here or on another device."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.exits import USAGE, end
from worker.cli.options import check_target

_NEEDED = ("numpy", "onnxruntime")

app = typer.Typer(
    help="Make cost tables of ONNX Runtime on any device.", no_args_is_help=True
)


@app.command()
def collect(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Write the table here, as JSON")
    ] = Path("onnx.json"),
    rounds: Annotated[
        int,
        typer.Option(
            help="Times that every layer is measured; the least counts", min=1
        ),
    ] = 2,
) -> None:
    """Measure layers in float on this device, on one thread, in some minutes; idle is best.

    It needs ONNX Runtime and numpy alone. `convpress compress --cost-table FILE`
    takes the table, and so does the folder CONVPRESS_COSTS_DIR of workers, as
    onnx.json. To measure a device without convpress, copy the file of
    `convpress cost-table pack` to it.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        end(f"this command needs {', '.join(missing)}: pip install onnxruntime", USAGE)
    check_target(output, "--output")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeElapsedColumn

    # The runtime reads this at its import, and would note the device and send events.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    from worker.engine.costs.collector import collect

    columns = BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task("measuring", total=1.0)
        collect(output, rounds, lambda done, of: bars.update(task, completed=done / of))
    typer.echo(f"written to {output}")


@app.command()
def pack(
    file: Annotated[
        Path, typer.Argument(help="Write the collector here, such as collect.pyz")
    ],
) -> None:
    """Write the collector as one file, for a device with Python, ONNX Runtime and numpy alone.

    There, run `python3 collect.pyz --help`, and bring the table that it writes back.
    """
    check_target(file, "FILE")
    from worker.engine.costs.packing import pack

    pack(file)
    typer.echo(f"written to {file}; it needs Python 3.10 or later")
