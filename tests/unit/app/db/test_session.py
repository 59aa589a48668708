"""A SQLite file that is moved, deleted or replaced is neither written to nor made again."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.db.session import get_engine


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def engine(path):
    engine = get_engine(f"sqlite:///{path}")
    write(engine, "CREATE TABLE notes (word TEXT)")
    yield engine
    engine.dispose()


def write(engine, statement):
    with engine.begin() as connection:
        connection.execute(text(statement))


def words(engine):
    with engine.connect() as connection:
        return [word for (word,) in connection.execute(text("SELECT word FROM notes"))]


def test_a_file_that_was_moved_away_is_not_made_again(engine, path, tmp_path):
    folder = tmp_path / "away"
    folder.mkdir()
    write(engine, "INSERT INTO notes VALUES ('before')")
    files = list(tmp_path.glob("jobs.db*"))
    for file in files:
        file.rename(folder / file.name)
    for _ in range(2):
        with pytest.raises(OperationalError, match="unable to open database file"):
            write(engine, "INSERT INTO notes VALUES ('away')")
    assert not path.exists()
    for file in files:
        (folder / file.name).rename(file)
    write(engine, "INSERT INTO notes VALUES ('after')")
    assert words(engine) == ["before", "after"]


def test_a_file_that_was_replaced_is_opened_anew(engine, path, tmp_path):
    other = get_engine(f"sqlite:///{tmp_path}/other.db")
    write(other, "CREATE TABLE notes (word TEXT)")
    other.dispose()
    (tmp_path / "other.db").replace(path)
    write(engine, "INSERT INTO notes VALUES ('new')")
    assert words(get_engine(f"sqlite:///{path}")) == ["new"]
