"""A process works in the data folder that it began with, and in no other."""

import shutil

import pytest

from app import data_folder
from app.data_folder import DataFolderGone
from app.settings import Settings


@pytest.fixture
def prepared(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    data_folder.prepare(settings)
    data_folder.check(settings)
    return settings


def test_a_folder_that_was_deleted_is_gone_and_back_when_it_is_put_back(
    prepared, tmp_path
):
    prepared.data_dir.rename(tmp_path / "away")
    with pytest.raises(DataFolderGone, match="put it back as it was, or restart"):
        data_folder.check(prepared)
    assert not prepared.data_dir.exists()
    (tmp_path / "away").rename(prepared.data_dir)
    data_folder.check(prepared)


def test_an_empty_folder_in_its_place_is_another_one(prepared):
    shutil.rmtree(prepared.data_dir)
    prepared.data_dir.mkdir()
    with pytest.raises(DataFolderGone):
        data_folder.check(prepared)


def test_the_folder_of_another_service_is_another_one(prepared, tmp_path):
    other = Settings(data_dir=tmp_path / "other")
    data_folder.prepare(other)
    shutil.rmtree(prepared.data_dir)
    other.data_dir.rename(prepared.data_dir)
    with pytest.raises(DataFolderGone):
        data_folder.check(prepared)


def test_processes_that_begin_together_agree_on_its_name(tmp_path):
    data_folder.prepare(Settings(data_dir=tmp_path))
    name = (tmp_path / ".convpress").read_text()
    data_folder._name_at_start.cache_clear()
    assert data_folder._write_name(tmp_path) == name
    assert [path.name for path in tmp_path.iterdir()] == [".convpress"]
