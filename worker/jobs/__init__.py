"""One job in the worker: inputs, child process, results, outcome, and caches for later jobs."""
