"""Those who call a service in this process, with keys or without, and the least that they may post."""

import hashlib

from app.auth import keys
from app.db.session import transaction

ONNX = bytes([0x08, 0x0A, 0x3A, 0x00])
SHA256 = hashlib.sha256(ONNX).hexdigest()
FORM = {"data": {"flops_budget": "0.5"}, "files": {"model": ("net.onnx", ONNX)}}


def token(owner="ann", *scopes):
    with transaction() as session:
        return keys.create(session, owner, scopes or ("submit", "read"))[1]


def bearing(given):
    return {"Authorization": f"Bearer {given}"}


def post(client, given):
    return client.post("/jobs", **FORM, headers=bearing(given))
