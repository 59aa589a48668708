"""Callers of a service in this process, with keys or without, and the least that they may post."""

import hashlib

from app.auth import keys
from app.db.session import transaction

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])
SHA256 = hashlib.sha256(ONNX).hexdigest()
FORM = {"data": {"flops_budget": "0.5"}, "files": {"model": ("net.onnx", ONNX)}}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
HTML = {"Accept": "text/html"}
OWN = {"Origin": "http://localhost"}
"""The header of a form on a page of this service."""

CALLS = [
    ("GET", "/jobs", "read"),
    ("POST", "/jobs", "submit"),
    ("POST", "/advice", "submit"),
    ("GET", "/jobs/{job_id}", "read"),
    ("GET", "/jobs/{job_id}/artifact", "read"),
    ("HEAD", "/jobs/{job_id}/artifact", "read"),
    ("GET", "/jobs/{job_id}/report", "read"),
    ("HEAD", "/jobs/{job_id}/report", "read"),
    ("GET", "/jobs/{job_id}/frontier", "read"),
    ("GET", "/jobs/{job_id}/events", "read"),
    ("GET", "/jobs/{job_id}/log", "read"),
    ("PATCH", "/jobs/{job_id}", "submit"),
    ("POST", "/jobs/{job_id}/cancel", "submit"),
    ("DELETE", "/jobs/{job_id}", "submit"),
    ("GET", "/models/{sha256}", "read"),
    ("GET", "/stats", "read"),
    ("GET", "/metrics", "metrics"),
    ("GET", "/", "read"),
    ("GET", "/dashboard/jobs/{job_id}", "read"),
    ("POST", "/dashboard/jobs", "submit"),
    ("POST", "/dashboard/jobs/{job_id}/cancel", "submit"),
    ("POST", "/dashboard/jobs/{job_id}/delete", "submit"),
    ("POST", "/dashboard/jobs/{job_id}/again", "submit"),
    ("POST", "/dashboard/jobs/{job_id}/annotate", "submit"),
    ("GET", "/dashboard/models/{sha256}", "read"),
    ("POST", "/dashboard/models/{sha256}/advice", "submit"),
    ("GET", "/dashboard/compare?job={job_id}&job={job_id}", "read"),
    ("GET", "/dashboard/compare.csv?job={job_id}&job={job_id}", "read"),
    ("GET", "/dashboard/system", "read"),
    ("POST", "/dashboard/sign-out", "submit"),
]
"""Every call that needs a key: method, path and scope."""


def token(owner="ann", *scopes):
    with transaction() as session:
        return keys.create(session, owner, scopes or ("submit", "read"))[1]


def bearing(key):
    return {"Authorization": f"Bearer {key}"}


def post(client, key):
    return client.post("/jobs", **FORM, headers=bearing(key))


def cookie(secret):
    """Return the headers of a browser that is signed in with a key."""
    return HTML | {"Cookie": f"convpress_key={secret}"}
