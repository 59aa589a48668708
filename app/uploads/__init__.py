"""Uploads: the multipart form, the submission that it makes, and the files on their way to the store."""
