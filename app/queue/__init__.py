"""The queue: Celery's client, and the broker in a folder that runs without a server."""
