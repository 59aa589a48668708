"""Images of several ranges, an equal part of each."""

from types import SimpleNamespace

from worker.engine.calibration.inputs.mixture import from_all_ranges


def test_each_range_has_an_equal_part_and_seeds_of_its_own():
    calls = []

    def synthetic(generator, values, count, seed):
        calls.append((generator, values, count, seed))
        return [f"{values} {number}" for number in range(2)]

    harness = SimpleNamespace(synthetic=synthetic)
    batches = from_all_ranges(harness, "leaves", ["0 to 1", "-1 to 1"], 7, 3)
    assert batches == ["0 to 1 0", "0 to 1 1", "-1 to 1 0", "-1 to 1 1"]
    assert calls == [("leaves", "0 to 1", 4, 3), ("leaves", "-1 to 1", 4, 103)]
