"""The operators of detectors do what torchvision's do, and files that name them load and run."""

import pytest
import torch
from support.torchscript.modules import rewrite, scripted, write
from torch import nn

from worker.engine.formats import load_runner
from worker.engine.formats.torchscript.detection import nms, register, roi_align
from worker.engine.formats.torchscript.model import TorchScriptModel

register()


def test_a_better_box_suppresses_those_that_overlap_it_more_than_the_threshold():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [0, 2, 4, 6], [8, 8, 9, 9]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.1])
    assert nms(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert nms(boxes, scores, 0.8).tolist() == [1, 2, 0, 3]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


@pytest.mark.parametrize(
    ("region", "ratio", "aligned", "expected"),
    [
        # a ramp of x + 10 y: the mean is the value at the middle
        ([0.0, 1, 1, 3, 3], 2, False, 22.0),
        ([0.0, 1, 1, 3, 3], 2, True, 16.5),
        ([0.0, 1, 1, 3, 3], -1, False, 22.0),
        # a region of no size has the size 1 unless it is aligned
        ([0.0, 2, 2, 2, 2], 1, False, 27.5),
        ([0.0, 3, 3, 1, 1], -1, True, 0.0),
        ([0.0, 20, 20, 22, 22], 2, True, 0.0),
    ],
)
def test_a_region_has_the_mean_of_interpolated_features(
    region, ratio, aligned, expected
):
    ramp = torch.arange(6.0) + 10 * torch.arange(6.0)[:, None]
    pooled = roi_align(
        ramp[None, None], torch.tensor([region]), 1.0, 1, 1, ratio, aligned
    )
    assert pooled.item() == pytest.approx(expected)


def test_no_regions_have_no_features():
    assert roi_align(
        torch.ones(1, 3, 4, 4), torch.ones(0, 5), 1.0, 2, 2, 2, True
    ).shape == (
        0,
        3,
        2,
        2,
    )


class Detector(nn.Module):
    """A detector as torchvision scripts it: lists and dictionaries around two operators."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.box = nn.Linear(8 * 4, 12)

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        features = torch.relu(self.body(torch.stack(images)))
        results: list[dict[str, torch.Tensor]] = []
        for index in range(len(images)):
            corners = torch.tensor([[0.0, 0.0, 6.0, 6.0], [0.0, 0.0, 6.0, 5.9]])
            regions = torch.nn.functional.pad(corners, [1, 0], value=float(index))
            pooled = torch.ops.torchvision.roi_align(
                features, regions, 1.0, 2, 2, 2, False
            )
            scores = self.box(pooled.flatten(1))
            keep = torch.ops.torchvision.nms(corners, scores[:, 0], 0.5)
            results.append({"boxes": corners[keep], "scores": scores[keep]})
        return results


def test_a_detector_that_takes_a_list_of_images_is_rewritten(tmp_path):
    path = write(tmp_path, scripted(Detector()))
    model = TorchScriptModel.open(path)
    [spec] = model.inputs
    assert (spec.name, spec.dtype) == ("images", "float32")
    shapes = model.bind({"images": (2, 3, 8, 8)})
    profile = model.count(shapes)
    assert profile.unaccounted == ()
    assert {site.name: site.macs for site in profile.sites} == {
        "body": 2 * 64 * 8 * 27,
        "box": 2 * 2 * 12 * 32,
    }
    for site in profile.sites:
        model.replace(site, [model.layer(site)])
    model.save(tmp_path / "out.pt")
    images = torch.rand(2, 3, 8, 8).numpy()
    expected = load_runner("torchscript", path)({"images": images})
    actual = load_runner("torchscript", tmp_path / "out.pt")({"images": images})
    assert list(actual) == list(expected)
    assert "output_1_scores" in expected
    for name, array in expected.items():
        assert abs(actual[name] - array).max() <= 1e-5


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.coder = Coder(2.0)

    def forward(self, x):
        coder = self.coder
        assert coder is not None
        return coder.scaled(self.layer(x))


@torch.jit.script
class Coder:
    def __init__(self, scale: float):
        self.scale = scale

    def scaled(self, x: torch.Tensor):
        return x * self.scale


class Perhaps(Own):
    """Faster R-CNN keeps its mapper of levels so, once it has run."""

    coder: Coder | None


@pytest.mark.parametrize("module", [Own, Perhaps])
def test_objects_of_the_files_own_classes_are_no_modules(tmp_path, monkeypatch, module):
    x = torch.rand(3, 4)
    network = scripted(module())
    # where a file is opened, nobody has defined its classes
    monkeypatch.setattr(torch.jit._state, "_name_to_pyclass", {})
    count, before, after = rewrite(tmp_path, network, x)
    assert count.macs == 3 * 16
    assert (after(x) - before(x)).abs().max() <= 1e-5
