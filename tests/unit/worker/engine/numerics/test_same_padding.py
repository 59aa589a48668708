"""SAME padding makes an output of `ceil(size / stride)`, with the fewest zeros that do."""

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.numerics.same_padding import same_padding, split_padding

sizes = st.integers(1, 20)
small = st.integers(1, 4)


@given(size=sizes, kernel=small, stride=small, dilation=small, upper=st.booleans())
def test_the_output_is_the_size_over_the_stride(size, kernel, stride, dilation, upper):
    ((before, after),) = same_padding(
        (size,), (kernel,), (stride,), (dilation,), upper=upper
    )
    span = dilation * (kernel - 1) + 1
    outputs = -(-size // stride)
    padded = size + before + after
    assert (padded - span) // stride + 1 >= outputs
    assert min(before, after) >= 0
    if before + after:
        assert (padded - 1 - span) // stride + 1 < outputs


@given(total=st.integers(0, 50), upper=st.booleans())
def test_an_odd_zero_is_after_the_axis_or_before_it(total, upper):
    before, after = split_padding(total, upper=upper)
    assert before + after == total
    assert after - before == (total % 2 if upper else -(total % 2))
