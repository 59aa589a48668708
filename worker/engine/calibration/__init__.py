"""Calibration: statistics of a model's layers, measured on inputs that resemble real ones.

Users need not send any inputs. A job uses the modules in this order:

1. `calibrate` does all of steps 2 to 5 and returns a `Calibration`; `effort` limits its work.
2. `run_size` builds the `harness`: the program with the sizes at which it is best run.
3. `inputs/`: `probing` finds the value range, generators make images, `distil` changes them.
4. `allowance` says how many images the effort pays for, `fitting_images` makes them.
5. `statistics/covariance` measures the moments at every site.
6. `statistics/sensitivity` measures what each site's error does to the model's outputs.
7. `refit/` fits the chosen factors to the outputs of the compressed layers before them.
"""
