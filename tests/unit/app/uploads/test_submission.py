"""The fingerprint of a request, which outlives versions."""

from dataclasses import replace

import pytest

from app.uploads.submission import Submission
from convpress.options import JobOptions

SAMPLED = {
    "budgets": {"latency_budget": "12ms", "params_budget": "50%"},
    "input_shape": "1x3x8x8",
    "calibration": "samples",
    "samples_sha256": "b" * 64,
    "input_mean": "0.5",
    "input_std": "0.2",
}


UNCALIBRATED = {
    "budgets": {"flops_budget": "0.5", "bytes_budget": "1MB"},
    "flops_at_any_price": True,
    "calibration": "none",
    "input_range": "0,255",
}


CALLED = {"labels": {"team": "vision"}, "webhook_url": "https://example.com/hook"}


@pytest.mark.parametrize(
    ("options", "members", "fingerprint"),
    [
        (
            {"budgets": {"flops_budget": "0.5"}},
            {},
            "fc5462d19cf1a7e0f8c0e1676bb8d46e25a97af7526dc79d4b7b0985515b9112",
        ),
        (
            SAMPLED,
            CALLED,
            "a7b50dac26c99dcd07d1fb9221896f4ed917c7fe46143696d80ee73c8c6d04c2",
        ),
        (
            UNCALIBRATED,
            {},
            "80f2b0e9361df2c686ce01b35150525e795b390531e362cf7ba8d33c4910a682",
        ),
    ],
    ids=["plain", "sampled", "uncalibrated"],
)
def test_a_fingerprint_is_what_it_was_in_the_version_that_first_knew_its_options(
    options, members, fingerprint
):
    first = Submission("a" * 64, "net.onnx", JobOptions(**options), **members)
    assert first.fingerprint() == fingerprint
    for changed in ({"budgets": {"params_budget": "0.4"}}, {"input_shape": "1x1x4x4"}):
        other = replace(first, options=replace(first.options, **changed))
        assert other.fingerprint() != fingerprint
