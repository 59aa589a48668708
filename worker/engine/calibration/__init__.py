"""Calibration: what a model's weights do not tell, learned by running it on inputs that nobody had to give.

In the order in which a job uses them: `subject` finds out how the model is best run, `probing` which of the known
`ranges` its values have, `synthetic` and `inputs` make what it takes, `distil` bends that towards what the model was
trained on, `observe` measures every site's moments (`calibrate` is all of this); `sensitivity` weighs the sites, a
classifier's last one by its `classes` too; `refit` fits the chosen factors to what comes out of the compressed layers
before them, and `refine` keeps of it what held-out inputs approve of, by `judge`.
"""
