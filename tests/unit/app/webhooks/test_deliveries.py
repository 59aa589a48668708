"""No exception ends the deliveries: neither of the claim, nor of a call, nor of its record."""

import uuid
from datetime import UTC, datetime

import anyio
import pytest

from app.webhooks import deliveries
from app.webhooks.call import Message
from app.webhooks.deliveries import ClaimedDelivery


@pytest.mark.parametrize("broken", ["claim", "_call", "_record"])
def test_the_next_delivery_is_made_although_one_failed(configure, monkeypatch, broken):
    settings = configure(webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    steps = []

    def step(name):
        steps.append(name)
        if name == broken and steps.count(name) == 1:
            raise RuntimeError("of a library")

    def claim(most):
        step("claim")
        message = Message("msg_1", datetime.now(UTC), b"{}")
        return [ClaimedDelivery(uuid.uuid4(), 1, "https://example.org", message)]

    async def call(*_):
        step("_call")
        return deliveries.Outcome()

    monkeypatch.setattr(deliveries, "claim", claim)
    monkeypatch.setattr(deliveries, "_call", call)
    monkeypatch.setattr(deliveries, "_record", lambda *_: step("_record"))
    monkeypatch.setattr(deliveries, "_POLL_SECONDS", 0.01)

    async def deliver():
        with anyio.fail_after(100):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(deliveries.deliver, settings)
                while steps.count("_record") < 3:
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()

    anyio.run(deliver)
