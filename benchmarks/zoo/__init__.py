"""The models that others have made: architectures to export, packages with files, and the checks.

`export.py` and the modules of architectures run in an environment of their own, with newer
libraries than the product's:

    python -m venv ZOO
    ZOO/bin/pip install torch==2.14.1 torchvision==0.29.1 timm transformers onnx onnxscript
    ZOO/bin/python benchmarks/zoo/export.py CACHE
    .venv/bin/python benchmarks/zoo/packages.py CACHE
    .venv/bin/python benchmarks/published.py --cache CACHE
    .venv/bin/python benchmarks/counts.py CACHE
"""
