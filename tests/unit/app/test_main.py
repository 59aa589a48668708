"""The application starts with what it needs alone, and leaves its process' logging as it is."""

import logging
import subprocess
import sys


def test_the_api_starts_without_model_libraries_and_without_alembic_and_redis():
    code = """
import sys
from app.main import create_app
from app.db import migrations
from app.queue import celery_client
create_app()
loaded = {name.partition(".")[0] for name in sys.modules}
unwanted = {"torch", "onnx", "onnx_ir", "onnxruntime", "numpy", "alembic", "redis"}
print(sorted(unwanted & loaded))
"""
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "[]\n"


def test_logging_is_left_alone_by_building_the_application():
    handlers = list(logging.root.handlers)
    from app.main import create_app

    create_app()
    assert logging.root.handlers == handlers
