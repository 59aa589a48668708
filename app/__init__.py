"""The API, and the parts it shares with the worker: settings, tables, jobs, storage and queue."""
