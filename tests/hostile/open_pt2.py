"""Open every archive of torch.export in a folder with no wall at all, and run its network.

    python tests/hostile/open_pt2.py FOLDER

For files that act on a folder of a test, in a process of its own.
"""

import contextlib
import logging
import sys
import warnings
from pathlib import Path

import torch

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable()
    for path in sorted(Path(sys.argv[1]).glob("*.pt2")):
        # Most fail, after they have acted.
        with contextlib.suppress(Exception):
            torch.export.load(path).module()(torch.zeros(2, 1, 8, 8))
