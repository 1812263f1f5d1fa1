"""The pages of docs/results are those that the committed tables and verdicts give."""

import shutil
import types

import pytest

from experiments.page import answer, question_page, section
from experiments.questions import NAMES, find
from tests.experiments.committed import RESULTS, RUN


@pytest.mark.parametrize("name", RUN)
def test_committed_pages_are_of_the_committed_results(name, tmp_path):
    shutil.copytree(RESULTS / name, tmp_path / name)
    path = question_page.write(name, find(name), "cpu", tmp_path)
    again = f"python -m experiments.figure {name} --results=docs/results"
    assert path == tmp_path / f"{name}.md"
    assert path.read_text() == (RESULTS / f"{name}.md").read_text(), f"{again} writes it anew"


def test_what_a_page_says(tmp_path):
    """A verdict that is not under review stands there with its reasons."""
    shutil.copytree(RESULTS / "parity", tmp_path / "parity")
    question = types.SimpleNamespace(**{**vars(find("parity")), "UNDER_REVIEW": "", "VERSION": 1})
    path = question_page.write("parity", question, "cpu", tmp_path)
    text = path.read_text()
    assert "under review" not in text.lower()
    assert "**C20: " in text and "parity/cpu/figure.png" in text and "--fresh" in text
    assert (tmp_path / "parity" / "cpu" / "figure.png").is_file()


def test_every_finding_has_its_numbers_in_a_sentence():
    """Of many comparisons the lowest and the highest effect, and the counted seeds; the rest is in a table below."""
    shown = {name: section.section(answer.find(name, find(name), "cpu", RESULTS)) for name in ("parity", "throughput")}
    said = {name: {one["claim"]: one["brief"] for one in of["findings"]} for name, of in shown.items()}
    assert said["parity"]["C20"].startswith("Seeds that solve it: tanh RNN 5 of 5 seeds, median 800 steps; Transformer")
    long = said["throughput"]["C4, long"]
    assert long.startswith("9 fail. Lowest: over tanh RNN, scan, 512 tokens, small, batch 4 -0.574 [-0.582, ")
    assert ". Highest: over LSTM, scan, 512 tokens, large, batch 8 -0.0591 [" in long and long.endswith(".")
    assert said["throughput"]["C20, rising"].startswith("Holds: Transformer, narrow heads, 2048 over 16 tokens")


def test_a_finding_of_which_nothing_is_judged_says_why():
    silent = [dict(name=f"a task {n}", says="not run", size=None, low=None, high=None, seeds=0) for n in range(30)]
    because = "not run: " + "; ".join(one["name"] for one in silent)
    found = {"claim": "C1", "outcome": "undecided", "because": because, "effects": silent}
    assert section._finding(found)["brief"].startswith("Not run: a task 0; a task 1; ")


def test_a_few_steps_have_no_page(tmp_path):
    assert question_page.write("parity", find("parity"), "smoke", tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_results_of_an_earlier_version_say_so_and_are_not_drawn_by_this_one(tmp_path):
    shutil.copytree(RESULTS / "throughput", tmp_path / "throughput")
    of = find("throughput").VERSION
    history = {**find("throughput").HISTORY, of + 1: "what was wrong is mended"}
    question = types.SimpleNamespace(**{**vars(find("throughput")), "VERSION": of + 1, "HISTORY": history})
    text = question_page.write("throughput", question, "cpu", tmp_path).read_text()
    assert f"# version {of + 1}\n" in text and "\ngit checkout " in text and "experiments.figure" not in text
    assert f"version {of + 1} has not been run" in text and f"- Version {of + 1}: what was wrong is mended." in text
    found = answer.find("throughput", question, "cpu", tmp_path)
    shown = section.section(found)
    assert shown["panels"]() == [] and shown["cut"] == "" and shown["picture"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("name", NAMES)
def test_every_version_has_its_line(name):
    assert list(find(name).HISTORY) == list(range(1, find(name).VERSION + 1))
