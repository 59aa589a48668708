"""The order in which parallel processes take tests, so that those which share a server share it."""

import re

from xdist.scheduler import LoadFileScheduling

# The tests of these share a running service, an API or a browser: each process that has some of
# them would start its own.
_ONE_SERVER = re.compile(r"tests/(browser|e2e|integration/(?!test_worker_process))")
# Hundreds of long tests a file, which share nothing.
_EACH_ALONE = re.compile(r"tests/(conformance|hostile)/")


class ByServer(LoadFileScheduling):
    """Gives a process all files whose tests share a server, else a file, or a test of some."""

    def _split_scope(self, nodeid: str) -> str:
        if _EACH_ALONE.match(nodeid):
            return nodeid
        shared = _ONE_SERVER.match(nodeid)
        return shared[0] if shared else super()._split_scope(nodeid)
