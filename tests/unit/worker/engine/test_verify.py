"""The comparison of outputs: what counts as the same model, and how far two are apart."""

import numpy as np
import pytest

from convpress.refusal import Code, Refusal
from worker.engine.verify import compare


def test_the_error_is_that_of_the_output_that_differs_most_of_its_own_size():
    """Pixels must not hide what becomes of probabilities."""
    pixels, scores = np.full((9, 4), 300.0), np.linspace(0, 1, 18).reshape(9, 2)
    original = {"boxes": pixels, "scores": scores}
    comparison = compare([original], [{"boxes": pixels, "scores": 0.5 * scores}])
    assert comparison.relative_error == pytest.approx(0.5)
    assert comparison.spread_error > 0.5
    near = compare([original], [{"boxes": 1.1 * pixels, "scores": scores}])
    assert near.relative_error == pytest.approx(0.1)


@pytest.mark.parametrize("noise", [0.0, 1e-12, 1e-7])
def test_of_an_output_that_is_zero_but_for_rounding_rounding_does_not_count(noise):
    signs = np.resize([1.0, -1.0, 1.0], (9, 2))
    values = np.linspace(-1, 1, 18).reshape(9, 2)
    usual = {"a": values, "large": 1e9 * values}
    original = usual | {"zero": noise * signs}
    near = compare([original], [usual | {"zero": -noise * signs}])
    assert near.relative_error <= 1e-6
    assert near.spread_error == 0
    far = compare([original], [usual | {"zero": 0.5 * signs}])
    size = np.sqrt(np.mean(values**2))
    assert far.relative_error == pytest.approx(0.5 / size)
    other = compare([original], [original | {"a": 1.5 * values}])
    assert other.relative_error == pytest.approx(0.5)


def test_what_is_no_number_in_the_original_is_left_out_and_said():
    original = {"a": np.array([np.nan, 2.0])}
    comparison = compare([original], [{"a": np.array([7.0, 2.0])}])
    assert (comparison.relative_error, comparison.finite) == (0, False)


def test_nothing_to_compare_with_is_no_error_of_zero():
    assert compare([{"a": np.zeros(3)}], [{"a": np.ones(3)}]).relative_error is None


@pytest.mark.parametrize(
    "compressed",
    [
        {},
        {"b": np.ones(2, np.float32)},
        {"a": np.ones(3, np.float32)},
        {"a": np.ones(2, np.float64)},
        {"a": np.array([1, np.inf], np.float32)},
    ],
    ids=["none", "name", "shape", "dtype", "infinity"],
)
def test_another_interface_or_no_numbers_fail(compressed):
    with pytest.raises(Refusal) as refused:
        compare([{"a": np.ones(2, np.float32)}], [compressed])
    assert refused.value.code == Code.VERIFICATION_FAILED


def softmax(scores):
    powers = np.exp(scores)
    return powers / powers.sum(1, keepdims=True)


def test_scores_are_compared_about_their_mean_and_probabilities_by_their_logarithms():
    scores = np.array([[4.0, 1.0, 1.0], [0.0, 3.0, 0.0]])
    others = scores + 5  # softmax makes the same of them
    assert compare([{"y": scores}], [{"y": others}]).relative_error == pytest.approx(0)
    near = 0.9 * scores
    measured = compare([{"y": softmax(scores)}], [{"y": softmax(near)}])
    assert measured.relative_error == pytest.approx(0.1)
    assert measured.agreement == 1


def test_agreement_is_the_share_of_inputs_with_the_same_class():
    one = np.eye(4)[:, :3]
    other = np.eye(4)[[0, 0, 2, 3], :3]
    assert compare([{"y": one}], [{"y": other}]).agreement == 0.75
    assert compare([{"y": np.ones(4)}], [{"y": np.ones(4)}]).agreement is None


def test_scores_that_are_no_numbers_agree_with_nothing():
    one = np.eye(4)[:, :3]
    other = np.eye(4)[[0, 0, 2, 3], :3]
    one[0] = np.nan
    assert compare([{"y": one}], [{"y": other}]).agreement == pytest.approx(2 / 3)
    assert compare([{"y": one * np.nan}], [{"y": other}]).agreement is None


def test_outputs_that_values_size_may_be_equal_in_all_runs_of_the_original():
    """As of a detector that finds nothing in noise; its artifact may find something."""
    originals = [{"y": np.ones(3, np.float32), "boxes": np.zeros((0, 4), np.float32)}]
    others = [{"y": np.ones(3, np.float32), "boxes": np.zeros((2, 4), np.float32)}]
    with pytest.raises(Refusal, match="boxes"):
        compare(originals, others)
    result = compare(originals, others, {}, {"boxes"})
    assert result.sized_by_values == ("boxes",)


def test_a_declared_size_that_the_original_always_has_is_no_matter_of_values():
    originals = [{"y": np.ones((50, 16))}, {"y": np.ones((50, 16))}]
    fewer_rows = [{"y": np.ones((3, 16))}, {"y": np.ones((50, 16))}]
    fewer_columns = [{"y": np.ones((50, 3))}, {"y": np.ones((50, 3))}]
    declared = {"y": ("rows", 16)}
    result = compare(originals, fewer_rows, declared, {"y"})
    assert result.sized_by_values == ("y",)
    with pytest.raises(Refusal, match="shape and dtype of y"):
        compare(originals, fewer_columns, declared, {"y"})
    with pytest.raises(Refusal, match="shape and dtype of y"):
        compare(originals, fewer_rows, {"y": (50, 16)}, {"y"})
    # the original itself shows that this declaration is wrong
    assert compare(fewer_rows, originals, {"y": (50, 16)}, {"y"}).sized_by_values


def test_outputs_sized_by_values_are_named_and_left_out():
    boxes, others = np.ones((5, 4)), np.ones((7, 4))
    fixed = np.array([3.0, 4.0])
    result = compare(
        [{"boxes": boxes, "y": fixed}],
        [{"boxes": others, "y": np.array([3.0, 4.5])}],
        {"boxes": ("n", 4), "y": (2,)},
    )
    assert (result.sized_by_values, result.relative_error) == (("boxes",), 0.1)


@pytest.mark.parametrize("declared", [{"boxes": (5, 4)}, {"boxes": None}, {}])
def test_another_size_along_an_axis_that_is_not_open_is_refused(declared):
    with pytest.raises(Refusal, match="shape and dtype of boxes"):
        compare([{"boxes": np.ones((5, 4))}], [{"boxes": np.ones((7, 4))}], declared)


def test_an_undeclared_size_is_open_where_it_differs_from_run_to_run():
    originals = [{"boxes": np.ones((5, 4))}, {"boxes": np.ones((6, 4))}]
    others = [{"boxes": np.ones((7, 4))}, {"boxes": np.ones((6, 4))}]
    assert compare(originals, others).sized_by_values == ("boxes",)


def test_the_spread_error_is_relative_to_what_tells_samples_apart():
    """Against the standard deviation that numpy computes of all samples together."""
    rng = np.random.default_rng(0)
    samples = 100 + rng.standard_normal((12, 4, 5))
    others = samples + rng.standard_normal((12, 4, 5)) / 10
    runs = [{"y": samples[:2]}, {"y": samples[2:]}]
    measured = compare(runs, [{"y": others[:2]}, {"y": others[2:]}])
    expected = np.sqrt(
        np.square(samples - others).mean() / samples.var(axis=0, ddof=1).mean()
    )
    assert measured.spread_error == pytest.approx(expected)
    assert measured.relative_error < 0.02 * measured.spread_error


def test_the_errors_are_those_of_the_worst_output():
    """A box in pixels does not hide the error of its score."""
    rng = np.random.default_rng(0)
    box, score = 100 * rng.standard_normal((9, 4)), rng.standard_normal((9, 1))
    constant = np.ones((9, 1))
    original = {"box": box, "score": score, "size": constant}
    other = {"box": 1.01 * box, "score": 1.5 * score, "size": constant}
    alone = compare([{"score": score}], [{"score": 1.5 * score}])
    measured = compare([original], [other])
    assert measured.spread_error == pytest.approx(alone.spread_error)
    assert measured.relative_error == pytest.approx(0.5)


@pytest.mark.parametrize("samples", [np.eye(7), np.full((9, 3), 1e6 / 3)])
def test_of_few_or_equal_samples_there_is_no_spread_error(samples):
    assert compare([{"y": samples}], [{"y": samples * 1.1}]).spread_error is None


def test_samples_of_several_sizes_have_no_spread():
    """As the boxes of a detector that finds more in some images."""
    originals = [{"boxes": np.ones((1, 1 + run % 3, 4))} for run in range(9)]
    comparison = compare(originals, originals)
    assert (comparison.relative_error, comparison.spread_error) == (0, None)


@pytest.mark.parametrize("declared", [(), (4,), (5, 4, 1)])
def test_a_declaration_of_another_rank_says_nothing(declared):
    originals = [{"boxes": np.ones((5, 4))}, {"boxes": np.ones((6, 4))}]
    others = [{"boxes": np.ones((5, 4))}, {"boxes": np.ones((7, 4))}]
    result = compare(originals, others, {"boxes": declared})
    assert result.sized_by_values == ("boxes",)
