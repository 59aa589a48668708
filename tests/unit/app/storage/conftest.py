"""Stores in a folder and in a bucket."""

import pytest

from app.storage import LocalStorage, ObjectStorage


@pytest.fixture
def local(tmp_path):
    return LocalStorage(tmp_path / "storage")


@pytest.fixture(params=["local", "bucket"])
def storage(request, tmp_path):
    if request.param == "local":
        return request.getfixturevalue("local")
    return ObjectStorage(request.getfixturevalue("bucket"), tmp_path / "staging")
