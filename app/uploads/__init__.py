"""Uploads: the multipart form, the parsed submission, and the files on their way to the store."""
