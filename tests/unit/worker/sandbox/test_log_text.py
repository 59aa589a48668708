"""What a reader of a child's log sees."""

from worker.sandbox.log_text import log_text

WARNING = (
    b"2026-12-01 12:07:29.561 [W:onnxruntime:Default, device_discovery.cc:484 Discover] "
    b"GPU device discovery failed: Permission denied\n"
)


def test_that_devices_are_hidden_is_no_line_of_the_log():
    assert log_text(b"before\n" + WARNING + b"after\n") == "before\nafter\n"
    assert log_text(bytearray(WARNING.rstrip())) == ""


def test_all_other_lines_stay():
    other = (
        b"[E:onnxruntime:Default, device_discovery.cc:484 Discover] a device failed\n"
        b"[W:onnxruntime:Default, session.cc:7 Run] an operator failed\n"
    )
    assert log_text(other) == other.decode()


def test_what_is_no_text_is_replaced():
    assert log_text(b"\xff\n") == "\ufffd\n"
