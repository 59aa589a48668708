"""The API process, and what it shares with the worker: settings, tables, jobs, storage and the doorbell."""
