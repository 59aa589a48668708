"""Helpers of tests about the service: callers, stores, jobs, and the running whole."""
