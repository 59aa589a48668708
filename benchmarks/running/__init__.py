"""A running service for benchmarks: its servers, its processes, and a history of jobs."""
