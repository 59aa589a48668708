"""The stages of a compression: open, plan and refit, write, verify, report; one file each.

Each stage takes and returns frozen records. The weights, the moments and the calibration die with
the locals of the stages that use them: no two models are in memory when the results are run.
"""
