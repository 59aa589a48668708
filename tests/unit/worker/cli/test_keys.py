"""The commands for API keys."""

from app.settings import get_settings


def test_keys_are_made_listed_and_revoked(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVPRESS_DATA_DIR", str(tmp_path))
    get_settings.cache_clear()
    result = run("keys", "create", "ann", "--scope", "read")
    assert result.exit_code == 0
    number, secret = result.stdout.strip().removeprefix("cp_").split("_", 1)
    listed = run("keys", "list").stdout
    assert number in listed
    assert "ann" in listed
    assert secret not in listed
    assert run("keys", "revoke", number).exit_code == 0
    assert run("keys", "revoke", number).exit_code == 1
    assert run("keys", "create", "ann", "--scope", "root").exit_code == 2
    assert run("keys", "create", "a b").exit_code == 2
    get_settings.cache_clear()
