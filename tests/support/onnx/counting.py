"""ONNX models that are counted."""

from support.onnx.text import written
from worker.engine.formats import open_model

# A size that inference cannot find: the square root of its square.
HIDDEN = (
    "s = Shape({0}) f = Cast <to = 1> (s) q = Mul(f, f) "
    "r = Sqrt(q) k = Cast <to = 7> (r) h = Reshape({0}, k)"
)


def counted(tmp_path, text, shapes=None, **options):
    opened = open_model("onnx", written(tmp_path, text, **options))
    return opened.count(opened.bind(shapes))


def macs_of(count):
    return [site.macs for site in count.sites]
