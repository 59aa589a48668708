"""The order in which parallel processes take tests, so that those which share a server share it."""

import re

from xdist.scheduler import LoadFileScheduling

# The tests of these share a running service, an API or a browser: each process that has some of
# them would start its own.
_ONE_SERVER = re.compile(r"tests/(browser|e2e|integration/(?!test_worker_process))")


class ByServer(LoadFileScheduling):
    """Gives a process all tests of a file, or all files whose tests share a server."""

    def _split_scope(self, nodeid: str) -> str:
        shared = _ONE_SERVER.match(nodeid)
        return shared[0] if shared else super()._split_scope(nodeid)
