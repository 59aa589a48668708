"""One job in the worker: its input files, child process, results and outcome, and the caches between jobs."""
