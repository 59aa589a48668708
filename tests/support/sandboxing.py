"""What tests of the sandbox share: its needs, and the last line of a child that succeeds."""

import pytest

from worker.sandbox import launcher

needs_landlock = pytest.mark.skipif(
    launcher.landlock_version() < 3, reason="needs a kernel with Landlock 3"
)
needs_seccomp = pytest.mark.skipif(
    launcher.load_libseccomp() is None, reason="needs libseccomp"
)

SUCCEEDED = """print('{"event": "succeeded"}', flush=True)"""
