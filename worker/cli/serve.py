"""`convpress serve`: the whole service in one command."""

from worker.cli.environment import read_settings
from worker.cli.exits import REFUSED, end, require_extra


def serve() -> None:
    """Run the whole service here: database, API and a worker; Ctrl-C stops everything."""
    require_extra("server", "engine")
    from worker.cli.supervisor import CannotListen
    from worker.cli.supervisor import serve as serve_until_stopped
    from worker.sandbox.doctor import DeviceMissing, SandboxIncomplete

    try:
        serve_until_stopped(read_settings())
    except (CannotListen, DeviceMissing, SandboxIncomplete) as error:
        end(str(error), REFUSED)
