"""The public names are imported when they are first used."""

import subprocess
import sys

import pytest

import convpress


@pytest.mark.parametrize("name", convpress.__all__)
def test_every_public_name_has_a_home(name):
    assert getattr(convpress, name).__name__ == name


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Clients'"):
        convpress.Clients  # noqa: B018 - the access is what fails


def test_the_package_alone_imports_neither_httpx_nor_pydantic():
    code = "import sys, convpress; print({'httpx', 'pydantic'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
