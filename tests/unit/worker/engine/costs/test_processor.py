"""The name of a processor, as Linux writes it."""

import platform

import pytest

from worker.engine.costs import processor
from worker.engine.costs.processor import host_name, model_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: A Core\nprocessor\t: 1", "A Core"),
        ("CPU part\t: 0xd08\nModel\t: Raspberry Pi 4", "Raspberry Pi 4"),
        ("model name\t:\nCPU part\t: 0xd08", "0xd08"),
        ("", None),
    ],
)
def test_the_most_telling_line_counts(text, name):
    assert model_name(text) == name


def test_a_host_without_a_list_of_processors_has_the_name_of_its_platform(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert host_name() == "arm64 unknown"
    monkeypatch.setattr(platform, "processor", lambda: "a processor")
    assert host_name() == "arm64 a processor"
