"""One job in the worker: its input files, its child process, its results and what is cached."""
