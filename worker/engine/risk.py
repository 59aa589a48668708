"""The risk of using a compressed model, in plain words, for users without labelled data.

`convpress.risk_levels` has the map to an expected loss, the thresholds and their evidence.

The level of a classifier stands on its expected loss, that of other models on the errors of their
outputs. Where the user has sent labels, it stands on the answers that were lost of them, which is
better than any expectation. A level is a claim about real inputs. Where nothing shows that real
inputs look like those that the models were compared on, small errors on these say nothing, and the
level is unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from convpress import risk_levels
from convpress.report import ExpectedLoss, Risk
from worker.engine.comparison_inputs import ComparisonInputs
from worker.engine.evaluation.answers import Answers
from worker.engine.verify import Comparison, worst

Level = Literal["low", "moderate", "high"]

_LEVELS: Sequence[Level] = ("low", "moderate", "high")
_MODERATE = _LEVELS.index("moderate")
_HIGH = _LEVELS.index("high")
# A smaller loss cannot be told from none.
_RESOLVED = 0.01
UNWEIGHTED = (
    "the ranks are unweighted, since measuring the share of each layer's error that arrives at the "
    "outputs would take too long"
)
_INPUTS = {
    "held-out samples": "On samples that were held out",
    "fitted samples": "On the samples",
    "synthetic": "On fresh inputs that nothing was fitted to",
}


def assess(
    comparisons: Mapping[str, Comparison],
    inputs: ComparisonInputs,
    predicted: float | None,
    *,
    unchanged: bool,
    factored: bool = True,
    inner_error: float | None = None,
    answers: Answers | None = None,
) -> Risk:
    """Return the risk of a compressed model from its comparisons with the original.

    There is one comparison for each group of the inputs; the worst counts. `predicted` is the
    predicted error of the outputs, relative and squared; None where the share of the layers' errors
    that arrives at the outputs was not measured, which is a doubt where layers were factored. With
    a doubt the level is not low. `inner_error` is the relative error of the activations before the
    last layers, None where int8 has changed these since: the level stands on it where the outputs
    say little. With `answers` to labelled samples it stands on these alone.

    >>> near = {"0 to 1": Comparison(("y",), 0.05, None, True)}
    >>> images = ComparisonInputs("synthetic", {"0 to 1": []})
    >>> [assess(near, images, error, unchanged=False).level for error in (0.01, 0.6, 2.0, None)]
    ['low', 'moderate', 'high', 'moderate']
    >>> sounds = ComparisonInputs("synthetic", {"0 to 1": []}, like_truth=False)
    >>> assess(near, sounds, 0.01, unchanged=False).level
    'unknown'
    """
    loss = None if answers is None or unchanged else answers.loss
    if answers is not None and loss is not None:
        return _by_answers(answers, loss)
    if inputs.quiet and not unchanged:
        if inner_error is None:
            return _by_nothing(inputs)
        return _by_activations(inputs, inner_error, predicted if factored else None)
    risk = _assessed(
        comparisons, inputs, predicted, unchanged=unchanged, factored=factored
    )
    sized = worst(comparisons).sized_by_values
    if not sized:
        return risk
    note = f"Not compared, since their sizes depend on values: {', '.join(sized)}."
    return replace(risk, text=f"{risk.text} {note}")


def _assessed(
    comparisons: Mapping[str, Comparison],
    inputs: ComparisonInputs,
    predicted: float | None,
    *,
    unchanged: bool,
    factored: bool,
) -> Risk:
    if unchanged:
        return Risk(level="low", text="The model is the original.")
    if inputs.source == "noise":
        text = (
            "The model was compressed by its weights alone and compared on noise: measure it on "
            "data of your own."
        )
        return Risk(level="unknown", text=text + _reservations(inputs.doubts))
    comparison = worst(comparisons)
    if comparison.relative_error is None:
        text = "The original gives no outputs on these inputs that could be compared."
        return Risk(level="unknown", text=text)
    doubts = list(inputs.doubts)
    if not factored:
        predicted = None
    elif predicted is None:
        doubts.append(UNWEIGHTED)
    expected = _expected_loss(comparison)
    if expected is None:
        error = max(comparison.relative_error, comparison.spread_error or 0.0)
        level = _level(error, predicted)
    else:
        level = _level_of_loss(expected)
    if doubts:
        level = max(level, _MODERATE)
    evidence = _evidence(comparison, inputs, predicted)
    reservations = _reservations(doubts)
    # a high error shows a loss on any inputs
    if level < _HIGH and not inputs.like_truth:
        advice = "Send samples, or measure the model on data of your own."
        return Risk(level="unknown", text=f"{evidence}{reservations} {advice}")
    text = evidence + _expectation(expected) + reservations
    return Risk(level=_LEVELS[level], text=text, expected_loss=expected)


def _by_answers(answers: Answers, loss: ExpectedLoss) -> Risk:
    """Return the risk of a model whose answers were compared with labels."""
    text = (
        f"Of {answers.right} right answers to the {answers.count} labelled samples it loses "
        f"{answers.lost}, and it gives {answers.gained} that the original does not: it loses "
        f"{_share(loss)}."
    )
    return Risk(level=_LEVELS[_level_of_loss(loss)], text=text, expected_loss=loss)


def _by_nothing(inputs: ComparisonInputs) -> Risk:
    """Return the risk of a model whose outputs say little, where no activations were compared."""
    text = (
        f"{_INPUTS[inputs.source]} the outputs of the original say little, as those of a detector "
        "on images without its objects, so that their errors show neither a loss nor that there is "
        f"none.{_reservations(inputs.doubts)} Send samples with objects, or measure the model on "
        "data of your own."
    )
    return Risk(level="unknown", text=text)


def _by_activations(
    inputs: ComparisonInputs, error: float, predicted: float | None
) -> Risk:
    """Return the risk of a model whose outputs say little on the inputs that it is judged by.

    The level is never low: nothing shows what the model makes of its objects.
    """
    level = max(_level(error, predicted), _MODERATE)
    share = f"{100 * error:.1f} %"
    text = (
        f"{_INPUTS[inputs.source]} the outputs of the original say little, as those of a detector "
        "on images without its objects. So the activations before its last layers are compared: "
        f"they differ from the original's by {share} of their variation."
    )
    advice = "Send samples with objects, or measure the model on data of your own."
    reservations = _reservations(inputs.doubts)
    if level < _HIGH and not inputs.like_truth:
        return Risk(level="unknown", text=f"{text}{reservations} {advice}")
    return Risk(level=_LEVELS[level], text=f"{text}{reservations} {advice}")


def _expected_loss(comparison: Comparison) -> ExpectedLoss | None:
    """Return the share of right answers that a classifier will lose; None of other models."""
    if comparison.agreement is None or comparison.spread_error is None:
        return None
    expected, low, high = risk_levels.expected_loss(comparison.spread_error)
    return ExpectedLoss(expected=expected, low=low, high=high)


def _level_of_loss(loss: ExpectedLoss) -> int:
    """Return the index of the level that both ends of the band allow."""
    if loss.high <= risk_levels.LOW_UP_TO:
        return _LEVELS.index("low")
    if loss.low >= risk_levels.HIGH_FROM:
        return _HIGH
    return _MODERATE


def _level(error: float, predicted: float | None) -> int:
    """Return the index of the level; the highest counts, since each figure may miss a loss."""
    level = _rank(error, risk_levels.MEASURED)
    if predicted is not None:
        level = max(level, _rank(predicted**0.5, risk_levels.PREDICTED))
    return level


def _rank(error: float, thresholds: tuple[float, float]) -> int:
    """Return the index of the level of an error."""
    return sum(error > threshold for threshold in thresholds)


def _evidence(
    comparison: Comparison, inputs: ComparisonInputs, predicted: float | None
) -> str:
    assert comparison.relative_error is not None  # `assess` has checked
    # of several outputs the figures are those of the worst
    up_to = "up to " if len(comparison.outputs) > 1 else ""
    relative = 100 * comparison.relative_error
    error = f"{up_to}{relative:.1f} %"
    source = _INPUTS[inputs.source]
    text = f"{source} its outputs differ from the original's by {error}"
    text += " of their size"
    if comparison.agreement is None and comparison.spread_error is not None:
        spread = 100 * comparison.spread_error
        text += f", and by {up_to}{spread:.1f} % of their variation"
    if comparison.agreement is not None:
        agreement = 100 * comparison.agreement
        cases = f"{agreement:.0f} %"
        text += f", and it gives the same class in {cases} of the cases"
    if predicted is not None:
        root = predicted**0.5
        share = f"{100 * root:.1f} %"
        text += f"; from the errors of its layers {share} were predicted"
    if len(inputs.groups) > 1:
        names = ", ".join(inputs.groups)
        text += f". These are the worst figures of the ranges that the model may expect: {names}"
    return f"{text}."


def _expectation(loss: ExpectedLoss | None) -> str:
    """Return the expected loss as a sentence, with the band that other networks gave."""
    if loss is None:
        return ""
    return f" It is expected to lose {_share(loss)}."


def _share(loss: ExpectedLoss) -> str:
    """Return a loss in words, with its band."""
    low, high = _per_cent(loss.low), _per_cent(loss.high)
    expected = _per_cent(loss.expected)
    band = "" if low == high == expected else f" ({low} to {high})"
    return f"{expected} of its right answers{band}"


def _per_cent(share: float) -> str:
    """Return a share in words; the images that the map was fitted to resolve one per cent.

    >>> _per_cent(0.004), _per_cent(0.031)
    ('less than 1 %', '3 %')
    """
    if share < _RESOLVED:
        return "less than 1 %"
    return f"{100 * share:.0f} %"


def _reservations(doubts: Sequence[str]) -> str:
    """Return the doubts as sentences."""
    sentences = [f" {doubt[0].upper()}{doubt[1:]}." for doubt in doubts]
    return "".join(sentences)
