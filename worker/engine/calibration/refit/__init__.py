"""The refit: chosen factors fitted anew to the inputs that the compressed layers before them give."""
