"""Which commit first stated a prediction: shown on a repository made for it."""

import subprocess

import pytest

from experiments.engine import statement

QUESTION = (
    '"""Doc {doc}."""\nCLAIM = "c"\nSOURCE = "s"\nPREDICTION = "{prediction}"\nTHRESHOLDS = {{"least": {least}}}\n'
)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setattr(statement, "ROOT", tmp_path)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b")
    git(tmp_path, "init", "-q")
    return tmp_path


def git(folder, *words):
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder, **values):
    path = folder / "asked.py"
    path.write_text(QUESTION.format(**{"doc": 0, "prediction": "p", "least": 0.1, **values}))
    git(folder, "add", "asked.py")
    git(folder, "commit", "-q", "--allow-empty", "-m", "m")
    return git(folder, "rev-parse", "HEAD")


def test_the_commit_from_which_on_it_was_stated(repository):
    commit(repository, prediction="another")
    first = commit(repository)
    commit(repository, doc=1)  # what is not the statement may change
    assert statement.origin(repository / "asked.py").commit == first


def test_a_threshold_that_moved_is_a_new_statement(repository):
    commit(repository)
    second = commit(repository, least=0.2)
    assert statement.origin(repository / "asked.py").commit == second
    third = (commit(repository, least=0.3), commit(repository, least=0.2))[1]
    assert statement.origin(repository / "asked.py").commit == third


def test_what_is_not_committed_has_no_commit(repository):
    commit(repository)
    (repository / "asked.py").write_text(QUESTION.format(doc=0, prediction="after the fact", least=0.1))
    assert statement.origin(repository / "asked.py") is None


def test_a_statement_is_written_out():
    with pytest.raises(ValueError, match="THRESHOLDS in line 4 is not a literal"):
        statement.stated('CLAIM = "c"\nSOURCE = "s"\nPREDICTION = "p"\nTHRESHOLDS = make()')
    with pytest.raises(ValueError, match="does not state its SOURCE"):
        statement.stated('CLAIM = "c"\nPREDICTION = "p"\nTHRESHOLDS = {}')
