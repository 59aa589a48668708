"""The options of sessions of ONNX Runtime."""

from typing import Any

import onnxruntime as ort

from worker.engine.numerics.threads import model_threads

_FATAL_ONLY = 4


def session_options(*, prepacked: bool = False) -> Any:  # noqa: ANN401 - the runtime ships no types
    """Return the options of every session: few threads, and weights that are not copied.

    With `prepacked` they are copied into the layout that the runtime computes in.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = model_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Prepacking copies weights into another layout. For VGG16 that takes 1.7 to 3.1 s and 480 MB
    # that cannot be given back, where the mapped file is ready in 0.1 to 0.2 s. It made none of the
    # convolutional networks faster that were tried. Layers in int8 would pack in every run: on
    # ResNet-20 they took 1.5 times as long.
    options.add_session_config_entry(
        "session.disable_prepacking", str(int(not prepacked))
    )
    return options
