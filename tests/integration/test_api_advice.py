"""The client asks for advice on a file or on an earlier job's model, and reads the answer."""

import json

import pytest
from support.service.fake_engine import ADVICE

from convpress.client.client import Client


def test_a_client_asks_for_advice_and_reads_it(api, tmp_path):
    file = tmp_path / "net.onnx"
    file.write_bytes(bytes([0x08, 0x0A, 0x3A, 0x00]))
    with Client(str(api.http.base_url)) as client:
        first = client.advise(file, input_range="0,255", labels={"run": "7"})
        second = client.advise(first)
        assert first.id != second.id
        assert (second.kind, second.model.sha256) == ("advice", first.model.sha256)
        assert [job.id for job in client.list(kind="advice")] == [second.id, first.id]
        api.succeed(str(second.id), b"x", json.dumps(ADVICE).encode())
        advice = client.advice(second)
        assert advice.choice == "int8 alone"
        assert (
            advice.options[0].expected_loss.expected
            == ADVICE["options"][0]["expected_loss"]["expected"]
        )
        job = client.submit(file, "0.5")
        api.succeed(str(job.id), b"x")
        with pytest.raises(ValueError, match="gives no advice"):
            client.advice(job)
