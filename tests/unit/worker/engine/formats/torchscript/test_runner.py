"""Running TorchScript: outputs by name, types kept, failures as refusals."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convpress.refusal import Code, Refusal
from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.formats.torchscript.runner import load


class Several(nn.Module):
    def forward(
        self, x
    ) -> tuple[Tensor, dict[str, Tensor], list[Tensor], tuple[Tensor, int]]:
        return x, {"a": 2 * x}, [3 * x, 4 * x], (5 * x, 6)


def saved(tmp_path, module):
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(module), path)
    return path


def test_outputs_are_named_by_their_place(tmp_path):
    outputs = load(saved(tmp_path, Several()))({"x": np.ones(2, np.float32)})
    assert {name: float(array.max()) for name, array in outputs.items()} == {
        "output_0": 1,
        "output_1_a": 2,
        "output_2_0": 3,
        "output_2_1": 4,
        "output_3_0": 5,
        "output_3_1": 6,
    }


def test_one_output_is_called_output_and_the_module_is_in_evaluation_mode(tmp_path):
    run = load(saved(tmp_path, nn.Dropout(0.5).train()))
    (name, array), *others = run({"input": np.ones(100, np.float32)}).items()
    assert name == "output"
    assert others == []
    assert array.min() == 1
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("own", "passed"),
    [
        (torch.float32, "float32"),
        (torch.float64, "float64"),
        (torch.float16, "float16"),
        (torch.bfloat16, "float32"),
        (torch.complex64, "complex64"),
    ],
)
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.filterwarnings("ignore:Complex modules are a new feature:UserWarning")
def test_the_models_own_type_is_told_and_taken(tmp_path, own, passed, frozen):
    module = torch.jit.script(nn.Linear(3, 2).to(own).eval())
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.freeze(module) if frozen else module, path)
    model = TorchScriptModel.open(path)
    assert [spec.dtype for spec in (*model.inputs, *model.outputs)] == [passed, passed]
    assert model.count({"input": (4, 3)}).macs == 24
    assert load(path)({"input": np.ones((4, 3), passed)})["output"].dtype == passed


def test_indices_are_whole_numbers(tmp_path):
    path = saved(tmp_path, nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2)))
    model = TorchScriptModel.open(path)
    assert [spec.dtype for spec in model.inputs] == ["int64"]
    assert model.count(model.bind({"": (1, 7)})).macs == 7 * 4 * 2
    assert load(path)({"input": np.zeros((1, 7), np.int64)})["output"].shape == (
        1,
        7,
        2,
    )


def test_a_run_that_fails_is_refused_with_its_cause(tmp_path):
    run = load(saved(tmp_path, nn.Linear(3, 2)))
    with pytest.raises(Refusal) as refused:
        run({"input": np.ones((1, 4), np.float32)})
    assert refused.value.code == Code.MODEL_INVALID
    assert "mat1 and mat2" in refused.value.detail


def test_what_cannot_be_loaded_is_refused(tmp_path):
    path = saved(tmp_path, nn.Linear(3, 2))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Refusal) as refused:
        load(path)
    assert refused.value.code == Code.MODEL_TRUNCATED


def test_want_of_memory_is_told_apart_while_it_is_counted_and_while_it_runs(tmp_path):
    class Greedy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.ones([int(x.sum()) + 70_000_000_000_000])[:1]

    path = saved(tmp_path, Greedy())
    model = TorchScriptModel.open(path)
    with pytest.raises(MemoryError, match="can't allocate memory"):
        model.count({"x": (1, 2)})
    with pytest.raises(MemoryError, match="can't allocate memory"):
        load(path)({"x": np.zeros((1, 2), np.float32)})
