"""Every response carries the security headers."""


def test_answers_carry_headers_that_keep_browsers_from_guessing(client):
    for path in ("/healthz", "/jobs", "/nowhere", "/docs"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
