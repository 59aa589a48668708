"""Adam's step is that of torch, bit for bit."""

import torch

from worker.engine.calibration.inputs.adam import Adam


def test_every_step_is_that_of_torch():
    torch.manual_seed(0)
    values = torch.randn(4, 3, 8, 8)
    expected = values.clone().requires_grad_()
    reference = torch.optim.Adam([expected], lr=0.03)
    ours = Adam(values, 0.03)
    for _ in range(40):
        gradient = torch.randn_like(values)
        expected.grad = gradient.clone()
        reference.step()
        ours.step(gradient)
        assert torch.equal(values, expected)
