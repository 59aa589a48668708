"""The pages bring their files along."""

import pytest


@pytest.mark.parametrize(
    ("name", "status"), [("dashboard.css", 200), ("..%2Fpages.py", 404)]
)
def test_the_files_of_the_pages_are_served_and_nothing_beside_them(
    client, name, status
):
    assert client.get(f"/dashboard/static/{name}").status_code == status
