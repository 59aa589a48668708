"""The refit: chosen factors fitted to the outputs of the compressed layers before them."""
