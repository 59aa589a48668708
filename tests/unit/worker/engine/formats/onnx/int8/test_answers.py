"""What stays in floats at the end of a model."""

from support.onnx.text import model

from worker.engine.formats.onnx.int8.answers import answers


def test_the_scores_of_a_classifier_are_answers_through_what_keeps_their_order():
    scores = model("""g (float[1, 4, 8, 8] x) => (float[1, 3] y) <float[3, 4, 8, 8] w> {
        a = Conv(x, w)
        b = Flatten(a)
        y = Softmax(b) }""")
    assert answers(scores) == {"a", "b", "y"}


def test_what_is_averaged_or_read_by_another_layer_is_none():
    read_again = model("""g (float[1, 4, 8, 8] x) => (float[1, 4, 1, 1] y, float[1, 4, 8, 8] a)
    <float[4, 4, 1, 1] w> {
        a = Conv(x, w)
        b = Conv(a, w)
        y = GlobalAveragePool(b) }""")
    assert answers(read_again) == {"y"}
