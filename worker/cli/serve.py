"""`convpress serve`: the whole service in one command."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.environment import read_settings
from worker.cli.exits import REFUSED, end, require_extra


def print_settings(asked: bool) -> None:
    """List the variables of all settings, if that was asked for."""
    if not asked:
        return
    require_extra("server")
    from app.settings import Settings
    from convpress.limits import Limits

    for name, setting in Settings.model_fields.items():
        if name != "limits":
            _print_setting(name, setting.default, setting.description or "")
    for limit in fields(Limits):
        _print_setting(
            f"limits__{limit.name}", limit.default, "Limit on a model's container"
        )
    raise typer.Exit


def _print_setting(name: str, default: object, description: str) -> None:
    shown = "unset" if default in (None, ()) else default
    typer.echo(f"CONVPRESS_{name.upper()}={shown}\n    {description}")


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: CONVPRESS_HOST")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; default: CONVPRESS_PORT")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of all that is stored; default: CONVPRESS_DATA_DIR"),
    ] = None,
    _settings: Annotated[
        bool,
        typer.Option(
            "--settings",
            callback=print_settings,
            is_eager=True,
            help="List every setting with its default, and exit",
        ),
    ] = False,
) -> None:
    """Run the whole service here: database, API and a worker; Ctrl-C stops everything.

    Every other setting is an environment variable: `convpress serve --settings` lists them all.
    """
    # the worker is a process of its own: it reads the settings from the environment
    for name, value in (("HOST", host), ("PORT", port), ("DATA_DIR", data_dir)):
        if value is not None:
            os.environ[f"CONVPRESS_{name}"] = str(value)
    require_extra("server", "engine")
    from worker.cli.supervisor import CannotListen
    from worker.cli.supervisor import serve as serve_until_stopped
    from worker.sandbox.doctor import DeviceMissing, SandboxIncomplete

    try:
        serve_until_stopped(read_settings())
    except (CannotListen, DeviceMissing, SandboxIncomplete) as error:
        end(str(error), REFUSED)
