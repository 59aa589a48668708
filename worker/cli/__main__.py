"""`python -m worker.cli` is `convpress`."""

from worker.cli.main import main

main()
