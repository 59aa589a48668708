"""Calibration: what a model's weights do not tell, learned by running it on inputs that nobody had to give.

In the order in which a job uses them: `synthetic` and `ranges` make inputs, `distil` bends them towards what the model
was trained on, `observe` measures every site's moments, `refit` fits the chosen factors to what comes out of the
compressed layers before them, `tune` trains them together; `accept` keeps of it what held-out inputs approve of.
"""
