"""Matrix products are counted by numpy's output shape and the axis that it sums over."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from worker.engine.numerics.flops import gemm_macs, matmul_macs


@given(
    hnp.mutually_broadcastable_shapes(
        signature=np.matmul.signature, max_dims=3, max_side=4
    )
)
def test_matmul_counts_the_outputs_numpy_gives_times_the_axis_summed_over(shapes):
    a, b = shapes.input_shapes
    output = np.matmul(np.zeros(a), np.zeros(b))
    assert matmul_macs(a, b) == output.size * a[-1]


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
)
def test_gemm_counts_the_product_whichever_way_its_operands_lie(
    m, k, n, transpose_a, transpose_b
):
    a = (k, m) if transpose_a else (m, k)
    b = (n, k) if transpose_b else (k, n)
    assert gemm_macs(a, b, transpose_a, transpose_b) == m * k * n


@pytest.mark.parametrize(
    ("a", "b"),
    [((), (3,)), ((2, 3), (4, 2)), ((2, 5, 3), (3, 3, 4))],
    ids=["scalar", "inner", "batch"],
)
def test_shapes_that_do_not_multiply_are_an_error_that_shows_them(a, b):
    with pytest.raises(ValueError, match=r"\("):
        matmul_macs(a, b)


def test_gemm_takes_matrices_only():
    with pytest.raises(ValueError, match="two matrices"):
        gemm_macs((2, 3, 4), (4, 5))
