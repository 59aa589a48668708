"""Models whose layer lies in a body that runs several times."""

LOOP = """g (float[1, 8, 12, 12] x) => (float[1, 8, 12, 12] y) <float[8, 8, 3, 3] w, float[8] a> {
    n = Constant <value = int64 {3}> ()
    y = Loop (n, , x) <body = b (int64 i, bool go, float[1, 8, 12, 12] v) => (bool on,
        float[1, 8, 12, 12] o) {
        on = Identity(go) [inside] c = Conv <pads = [1, 1, 1, 1]> (v, w, a) o = Tanh(c) }> }"""


SCAN = """g (float[5, 1, 8, 12, 12] xs, float[1, 8, 12, 12] x) => (float[1, 8, 12, 12] z,
    float[5, 1, 8, 12, 12] y)
    <float[8, 8, 3, 3] w> {
    z, y = Scan <num_scan_inputs = 1, body = b (float[1, 8, 12, 12] s, float[1, 8, 12, 12] v)
        => (float[1, 8, 12, 12] t, float[1, 8, 12, 12] o) {
        [inside] o = Conv <pads = [1, 1, 1, 1]> (v, w) t = Add(s, o) }> (x, xs) }"""


SHAPED = """g (float[5, 8, 12, 12] xs, float[1] x) => (float[1] z, float[5, 8, 12, 12] y)
    <float[8, 8, 3, 3] w, int64[1] first = {0}> {
    z, y = Scan <num_scan_inputs = 1, body = b (float[1] s, float[8, 12, 12] v) => (float[1] t,
        float[8, 12, 12] o) {
        u = Unsqueeze(v, first) [inside] c = Conv <pads = [1, 1, 1, 1]> (u, w) o = Squeeze(c, first)
            t = Tanh(s)
    }> (x, xs) }"""
