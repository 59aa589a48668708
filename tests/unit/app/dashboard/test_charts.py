"""The charts stay within their frames."""

from app.dashboard.charts import Mark, tradeoff


def test_a_chart_stays_within_its_frame():
    chart = tradeoff([(0.02, 1.7), (0.5, 0.1), (1.0, 0.0)], [Mark(0.5, 2.5, "far off")])
    for dot in (*chart.dots, *chart.marks):
        assert chart.left <= dot.x <= chart.right
        assert chart.top <= dot.y <= chart.bottom
