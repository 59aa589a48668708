"""What the API and the engine both have to agree on: budgets, shapes, refusals and what a model file is.

Standard library only, so that neither side drags the other's dependencies in.
"""
