"""`make demo`, where it is asked for what cannot be."""

import pytest

from experiments import demo


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--steps=-5", "--steps = -5 is no number of steps; use 1 or more, or 0 for the config's"),
        (f"--steps={10**20}", "is no number of steps"),
        ("--steps=few", "invalid int value: 'few'"),
        ("--folder=/dev/null/demo", "--folder = /dev/null/demo cannot be written to"),
    ],
)
def test_mistakes_are_one_line(word, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        demo.main([word])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1
