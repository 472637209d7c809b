"""What variables mean, and which folder each user's caches go to."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ga import environment
from ga.cli import main
from ga.errors import InputError
from ga.sources.hyperliquid import cache_folder


def as_unknown_user(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    """As in ``docker run --user 12345``: no home, and no entry in the password database."""

    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    for name in ("HOME", "GA_CACHE_DIR", "GA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))


@pytest.mark.parametrize("value", ["", "  "])
def test_empty_variable_counts_as_unset(monkeypatch, tmp_path, capsys, value):
    for name in ("GA_STORE", "GA_CACHE_URL", "GA_CACHE_DIR", "GA_CACHE_PASSWORD_FILE"):
        monkeypatch.setenv(name, value)
        assert environment.setting(name) is None
    monkeypatch.chdir(tmp_path)
    assert main.main(["runs"]) == 2
    assert "sqlite:///ga.db: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["GA_CACHE_DIR", "GA_CACHE"])
def test_server_url_is_not_a_cache_folder(monkeypatch, variable):
    monkeypatch.delenv("GA_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, "redis://:secret@host:6379/0")
    for place in (environment.own_cache, environment.cache_home, cache_folder):
        with pytest.raises(InputError, match="GA_CACHE_URL") as refused:
            place()
        assert "secret" not in str(refused.value)


def test_caches_follow_user_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("GA_CACHE_DIR", "")
    assert environment.cache_home() == Path("/home/one/.cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert environment.cache_home() == tmp_path / "xdg"
    monkeypatch.setenv("GA_CACHE_DIR", str(tmp_path / "own"))
    assert environment.cache_home() == cache_folder() == tmp_path / "own"
    monkeypatch.setenv("GA_CACHE", str(tmp_path / "old"))
    assert environment.cache_home() == tmp_path / "own"
    monkeypatch.delenv("GA_CACHE_DIR")
    assert environment.cache_home() == cache_folder() == tmp_path / "old"


@pytest.mark.parametrize("home", [None, ""])
def test_user_without_home_gets_private_folder(monkeypatch, tmp_path, home):
    as_unknown_user(monkeypatch, tmp_path)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    assert environment.home() is None
    folder = environment.cache_home()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert environment.cache_home() == folder
    assert cache_folder() == folder / "evolution-gate" / "hyperliquid"


def test_folder_writable_by_others_is_not_private(monkeypatch, tmp_path):
    as_unknown_user(monkeypatch, tmp_path)
    folder = tmp_path / f"evolution-gate-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(InputError, match="others may write"):
        environment.cache_home()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="GA_CACHE_DIR"):
        environment.cache_home()
