"""The thresholds of the levels of risk, which the engine applies and the pages show.

They are relative errors of the outputs, as measured on inputs that nothing was fitted to and as
predicted from those of the layers. Below the first threshold of either, no network of
`benchmarks/accuracy.py` lost more than two points; above the second they could lose five.
SqueezeNet's outputs on synthetic images stay near while it loses thirty points on real ones: the
prediction from its layers shows that loss. Below the first threshold of both, classifiers there
gave the same class to 85 % of the images and more.
"""

MEASURED = (0.15, 0.3)
"""Above the first the level is at least moderate, above the second high."""
PREDICTED = (0.7, 0.9)
"""The same for the predicted error."""
LEAST_AGREEMENT = 0.8
"""With less agreement the risk is not low: the model's classes may lie close together."""
