"""Tests of finding Python, with programs that answer like Python."""

import ast
import sys
from pathlib import Path

import find_python
import pytest
from find_python import SetupError

SCRIPTS = Path(find_python.__file__).parent


@pytest.fixture(autouse=True)
def no_other_pythons(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))


@pytest.fixture
def python(program):
    def install(name, version, lacks="-"):
        return program(name, f"echo {version} {lacks}")

    return install


def found(*folders):
    return find_python.find_python(search_path=":".join(str(folder) for folder in folders))


def test_this_very_python_is_found(monkeypatch):
    monkeypatch.undo()
    interpreter = find_python.find_python()
    assert interpreter.minor in find_python.SUPPORTED
    assert interpreter.lacks is None
    assert find_python.probe(interpreter.path) == interpreter


def test_3_11_is_preferred_wherever_it_stands(python, tmp_path):
    python("a/python3.12", "3.12.4")
    python("a/python3", "3.12.4")
    expected = python("b/python3.11", "3.11.9")
    assert found(tmp_path / "a", tmp_path / "b").path == str(expected)


def test_3_12_will_do(python, tmp_path):
    python("a/python3", "3.13.1")
    expected = python("a/python3.12", "3.12.4")
    assert found(tmp_path / "a").path == str(expected)


def test_a_shim_that_does_not_run_is_passed_over(python, program, tmp_path):
    program("shims/python3.11", "echo 'pyenv: python3.11: command not found' >&2; exit 127")
    expected = python("bin/python3.11", "3.11.2")
    assert found(tmp_path / "shims", tmp_path / "bin").path == str(expected)


def test_pyenv_is_searched_behind_path_newest_first(python, tmp_path):
    python("pyenv/versions/3.11.4/bin/python", "3.11.4")
    expected = python("pyenv/versions/3.11.7/bin/python", "3.11.7")
    assert found(tmp_path / "empty").path == str(expected)


def test_python3_counts_where_it_is_the_right_one(python, tmp_path):
    expected = python("bin/python3", "3.11.2")
    assert found(tmp_path / "bin").path == str(expected)


def test_only_old_ones_name_what_was_found_and_what_to_install(python, tmp_path):
    old = python("bin/python3", "3.9.18")
    with pytest.raises(SetupError, match=r"Python 3\.11 \(or 3\.12\) is needed; found 3\.9\.18 at") as caught:
        found(tmp_path / "bin")
    assert str(old) in str(caught.value)
    assert "apt-get install python3.11" in caught.value.remedy
    assert "make setup PYTHON=" in caught.value.remedy


def test_nothing_at_all(tmp_path):
    with pytest.raises(SetupError, match="found none that runs"):
        found(tmp_path)


def test_a_python_without_venv_names_the_package(python, tmp_path):
    python("bin/python3.11", "3.11.2", "ensurepip")
    with pytest.raises(SetupError, match=r"lacks the module ensurepip") as caught:
        found(tmp_path / "bin")
    assert "apt-get install python3.11-venv" in caught.value.remedy


def test_a_complete_one_behind_an_incomplete_one_is_taken(python, tmp_path):
    python("a/python3.11", "3.11.2", "ensurepip")
    expected = python("b/python3.11", "3.11.7")
    assert found(tmp_path / "a", tmp_path / "b").path == str(expected)


def test_the_named_one_is_taken_or_refused_by_name(python):
    wanted = python("mine/python", "3.11.1")
    assert find_python.find_python(str(wanted)).path == str(wanted)
    wrong = python("mine/other", "3.8.1")
    with pytest.raises(SetupError, match=f"PYTHON={wrong} is no Python 3.11 or 3.12"):
        find_python.find_python(str(wrong))
    with pytest.raises(SetupError, match="found none that runs"):
        find_python.find_python("/no/such/python")


@pytest.mark.parametrize("script", ["find_python.py", "find_java.py", "setup_env.py"])
def test_the_set_up_starts_on_an_old_python_to_say_what_is_wrong(script):
    ast.parse((SCRIPTS / script).read_text(), feature_version=(3, 8))
