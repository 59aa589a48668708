"""The user's own evaluation: labels or targets, a metric, and its figure before and after."""
