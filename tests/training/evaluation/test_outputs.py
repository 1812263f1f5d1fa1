"""What is written for lines as they come."""

from typing import Any, cast

import pytest

from training.evaluation import outputs


@pytest.mark.parametrize(("numbered", "start"), [(False, ""), (True, "1\t-0.5000\t")])
def test_an_output_is_one_line_whatever_it_holds(monkeypatch, capsys, numbered, start):
    """A language model may write an end of line."""
    monkeypatch.setattr(outputs, "translate", lambda *given: iter([[(-0.5, "to be\nor\r\nnot\rto be")]]))
    outputs.write_outputs(cast(Any, None), cast(Any, None), [], nbest=0, numbered=numbered, max_len=9)
    assert capsys.readouterr().out == f"{start}to be or not to be\n"
