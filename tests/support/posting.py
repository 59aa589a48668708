"""Orders as the API would receive them, and jobs posted by them."""

from pathlib import Path

from app.jobs import commands
from app.storage import get_storage
from app.uploads.submission import Order
from app.uploads.upload import Upload


def order(number=0, **fields):
    """An order whose model has come with it."""
    with get_storage().stage() as staged:
        staged.write(b"model")
    upload = Upload(Path(staged.name), f"{number:064}", 5, "onnx")
    budgets = {"flops_budget": "0.5"}
    return Order(
        **{"sha256": upload.sha256, "filename": "net.onnx", "budgets": budgets, "upload": upload}
        | fields
    )


def post(session, number=0, key=None, **fields):
    return commands.create(session, get_storage(), order(number, **fields), key)[0]
