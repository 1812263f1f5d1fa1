"""`eval.py`: what it writes, what it prints, and how it refuses; by real processes where that matters."""

import contextlib
import io
import json
import math
import os
import re
import select
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu

import eval
import train
from tests.training import runs
from tests.training.processes import ROOT, write_text
from training.command import eval_options
from training.machine import programs
from training.run.restore import read_config, restore
from training.step.losses import cross_entropy

KEYS = {
    "loss",
    "perplexity",
    "token_accuracy",
    "exact_match",
    "bleu",
    "bleu_lowercase",
    "ngram_precision",
    "brevity_penalty",
    "length_ratio",
    "at_decoding_limit",
    "chrf",
    "signature",
    "by_source_length",
    "by_distance",
    "num_examples",
    "checkpoint_step",
}


def command(workdir, *words):
    return [sys.executable, "eval.py", f"--workdir={workdir}", *map(str, words)]


def evaluate(workdir, *words, split="val"):
    """Calls eval.py in this process and returns what it wrote."""
    eval.main([f"--workdir={workdir}", f"--split={split}", *words])
    return json.loads((workdir / "eval" / f"{part_of(split, *words)}.json").read_text())


def part_of(split, *words):
    options, decoding, _ = eval_options.parse(["--workdir=run", *words])
    return eval.part_of(split, options.checkpoint, decoding, options.limit or 0)


def lines(path):
    return path.read_text().splitlines()


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("eval")


@pytest.fixture(scope="module")
def text(folder):
    return write_text(folder / "text")


@pytest.fixture(scope="module")
def translation(folder, text):
    config = runs.text_config(text, data__num_buckets=1, every__eval=4, every__save=4, optimizer__learning_rate=0.02)
    train.train(config, folder / "translation")
    return folder / "translation"


@pytest.fixture(scope="module")
def language(folder):
    train.train(runs.language_config(runs.write_language(folder / "language_text"), steps=2), folder / "language")
    return folder / "language"


@pytest.fixture(scope="module")
def recall(folder):
    train.train(runs.config("recall", "transformer_decoder", steps=2), folder / "recall")
    return folder / "recall"


@pytest.fixture(scope="module")
def on_val(translation):
    """The evaluation of a split: (contents of the JSON, what was printed)."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        found = evaluate(translation, "--beam_size=3")
    return found, output.getvalue()


def test_translation_has_every_key(on_val, translation):
    found, output = on_val
    assert found.keys() >= KEYS
    assert found["num_examples"] == 24 and found["checkpoint_step"] in (4, 8)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["decoding"] == {"method": "beam", "beam_size": 3, "length_penalty": 0.6}
    assert found["by_distance"] == [] and found["bits_per_byte"] is None
    assert "chrf" in output and output.rstrip().endswith(str(translation / "eval" / "val-beam_size3.json"))


def test_scores_are_of_the_predictions_beside_them(on_val, translation, text):
    found, _ = on_val
    hypotheses, references = lines(translation / "eval" / "val-beam_size3.predictions.txt"), lines(text / "val.en")
    assert len(hypotheses) == 24
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [references]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score) and found["chrf"] > 0
    same = [h.strip() == r for h, r in zip(hypotheses, references, strict=True)]
    assert found["exact_match"] == sum(same) / 24


def test_quality_against_source_length_covers_every_example(on_val, text):
    rows = on_val[0]["by_source_length"]
    words = np.array([len(line.split()) for line in lines(text / "val.de")])
    for row in rows:
        assert row["num_examples"] == ((words >= row["low"]) & (words <= row["high"])).sum()
        assert {"loss", "token_accuracy", "exact_match", "bleu_lowercase"} <= row.keys()
    assert [(row["low"], row["high"]) for row in rows] == [(1, 5), (6, 10)]


def test_loss_is_without_label_smoothing_and_that_of_training(on_val, translation):
    found, _ = on_val
    best = json.loads((translation / "summary.json").read_text())["best"]
    assert json.loads((translation / "config.json").read_text())["config"]["label_smoothing"] > 0
    for name in ("loss", "token_accuracy", "perplexity"):
        assert found[name] == pytest.approx(best[name], rel=1e-4)


@pytest.mark.parametrize("ending", ["plain", "gz"])
def test_files_instead_of_a_split(translation, text, folder, on_val, ending):
    """The same pairs give the same numbers, whichever way they come."""
    source, target = text / "val.de", text / "val.en"
    if ending == "gz":
        source, target = runs.zipped(source), runs.zipped(target)
    else:  # a pair with a blank side is skipped and counted
        source, target = folder / "mine.de", folder / "mine.en"
        source.write_text((text / "val.de").read_text() + "zwei\n")
        target.write_text((text / "val.en").read_text() + "\n")
    words = [f"--source={source}", f"--target={target}", "--beam_size=3"]
    eval.main([f"--workdir={translation}", *words])
    (path,) = (translation / "eval").glob(f"{source.name.removesuffix('.gz')}-????????-beam_size3.json")
    found = json.loads(path.read_text())
    assert found["num_examples"] == 24 and path.stem == f"{found['split']}-beam_size3" and found["target"] in words[1]
    for key in ("loss", "bleu", "chrf", "exact_match"):
        assert found[key] == pytest.approx(on_val[0][key], rel=1e-4)


def test_files_replace_neither_a_split_nor_each_other(translation, folder):
    evaluate(translation, "--beam_size=3")
    before = (translation / "eval" / "val-beam_size3.json").read_bytes()
    for name, lines in (("one", "zwei\ndrei\n"), ("other", "vier\n")):
        (folder / name).mkdir()
        (folder / name / "val").write_text(lines)
        (folder / name / "target").write_text(lines)
        eval.main(
            [f"--workdir={translation}", f"--source={folder / name / 'val'}", f"--target={folder / name / 'target'}"]
        )
    assert (translation / "eval" / "val-beam_size3.json").read_bytes() == before
    found = [json.loads(path.read_text()) for path in (translation / "eval").glob("val-????????.json")]
    assert sorted((one["num_examples"], one["source"]) for one in found) == [
        (1, str(folder / "other" / "val")),
        (2, str(folder / "one" / "val")),
    ]


def test_skipped_pairs_are_said(translation, folder, capsys):
    source, target = folder / "few.de", folder / "few.en"
    source.write_text("zwei\n\ndrei\n")
    target.write_text("two\none\nthree\n")
    eval.main([f"--workdir={translation}", f"--source={source}", f"--target={target}", "--beam_size=1"])
    assert "1 of 3 pairs skipped for a blank side, the first in line 2" in capsys.readouterr().err


def test_each_line_is_translated_as_it_comes(translation, text, on_val):
    process = subprocess.Popen(
        command(translation, "--input=-", "--beam_size=3"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    expected = lines(translation / "eval" / "val-beam_size3.predictions.txt")
    for source, prediction in [*zip(lines(text / "val.de")[:3], expected, strict=False), ("", "")]:
        process.stdin.write(source + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], 120)
        assert ready, "nothing came back before the next line was given"
        assert process.stdout.readline() == prediction + "\n"
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and (output, errors) == ("", "")


def test_input_from_a_file(translation, text, on_val, folder, capsys):
    (folder / "input.de").write_text("".join(line + "\n" for line in lines(text / "val.de")[:2]))
    eval.main([f"--workdir={translation}", f"--input={folder / 'input.de'}", "--beam_size=3"])
    assert capsys.readouterr().out.splitlines() == lines(translation / "eval" / "val-beam_size3.predictions.txt")[:2]


def test_text_is_utf_8_whatever_the_locale(folder):
    """Accents through training, predictions in a file and on standard output, and lines ended by carriage returns."""
    accents = folder / "accents"
    accents.mkdir()
    for split in ("train", "val"):
        for language in ("de", "en"):
            (accents / f"{split}.{language}").write_text("čtyři žáby\nπέντε λέξεις\n" * 8, encoding="utf-8")
    config = runs.text_config(accents, steps=2, data__num_buckets=1, every__eval=2, every__save=2)
    train.train(config, folder / "accented")
    plain = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    for words, given in (("--split=val", b""), ("--input=-", "žáby\rλέξεις\r\n".encode())):
        done = subprocess.run(
            command(folder / "accented", words, "--sample", "--temperature=3"),
            **{"input": given, "cwd": ROOT, "capture_output": True, "timeout": 300, "env": os.environ | plain},
        )
        assert done.returncode == 0, done.stderr.decode()
    printed = done.stdout.decode().splitlines()
    written = (folder / "accented" / "eval" / "val-sample-temperature3.predictions.txt").read_bytes().decode()
    assert len(printed) == 2 and not "".join(printed).isascii()
    assert written.count("\n") == 16 and not written.isascii()


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin1"])
def test_other_encodings_of_standard_input_are_named(translation, encoding, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("schöne Häuser\nzwei\n".encode(encoding))))
    with pytest.raises(SystemExit):
        eval.main([f"--workdir={translation}", "--input=-"])
    assert f"iconv -f {encoding.upper().replace('-LE', 'LE')} -t UTF-8" in capsys.readouterr().err


def test_what_is_not_of_a_split_needs_no_training_text(translation, text, on_val, folder, capsys):
    """The tokenizer lies in the run, so its folder and the new lines are all that another machine must have."""
    (folder / "two.de").write_text("".join(line + "\n" for line in lines(text / "val.de")[:2]))
    (folder / "two.en").write_text("".join(line + "\n" for line in lines(text / "val.en")[:2]))
    (folder / "gone").mkdir()
    gone = [f"--workdir={translation}", f"--data_dir={folder / 'gone'}", "--beam_size=3"]
    eval.main([*gone, f"--input={folder / 'two.de'}"])
    expected = lines(translation / "eval" / "val-beam_size3.predictions.txt")[:2]
    assert capsys.readouterr().out.splitlines() == expected
    eval.main([*gone, f"--source={folder / 'two.de'}", f"--target={folder / 'two.en'}"])
    (predictions,) = (translation / "eval").glob("two.de-????????-beam_size3.predictions.txt")
    assert lines(predictions) == expected
    with pytest.raises(SystemExit):
        eval.main([*gone, "--split=val"])
    assert f"--data_dir = {folder / 'gone'} has no " in capsys.readouterr().err


def test_checkpoints_to_choose_from(translation, on_val):
    losses = {"best": on_val[0]["loss"]}
    for which in ("last", "average"):
        found = evaluate(translation, f"--checkpoint={which}", "--beam_size=1", "--limit=8", split="test")
        assert found["checkpoint_step"] == 8 and found["num_examples"] == 8
        assert found["decoding"] == {"method": "greedy"}
        losses[which] = found["loss"]
    assert losses["last"] != losses["average"]


def test_sampling_follows_its_seed(translation):
    def predictions(*words):
        found = evaluate(translation, "--sample", "--temperature=1.5", "--limit=8", *words, split="test")
        assert found["decoding"]["method"] == "sample" and found["decoding"]["temperature"] == 1.5
        seed = words[0].removeprefix("--").replace("=", "")
        return lines(translation / "eval" / f"test-sample-temperature1.5-{seed}-first8.predictions.txt")

    first = predictions("--seed=1")
    assert first == predictions("--seed=1") != predictions("--seed=2")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "val"),
        (["--beam_size=5", "--length_penalty=0.6"], "val"),
        (["--beam_size=1"], "val-greedy"),
        (["--beam_size=10", "--length_penalty=1"], "val-beam_size10-length_penalty1"),
        (["--sample", "--top_p=0.95"], "val-sample-top_p0.95"),
        (["--checkpoint=average", "--limit=4", "--beam_size=1"], "val-average-greedy-first4"),
    ],
)
def test_results_name_how_they_were_decoded(words, part):
    assert part_of("val", *words) == part


def test_equal_lines_draw_different_samples(translation, folder, capsys):
    """The draws of a line are its own: they depend on no other line and stay when fewer are asked for."""
    (folder / "equal.de").write_text("eins zwei drei\n" * 4)

    def printed(*words, file="equal.de"):
        eval.main([f"--workdir={translation}", f"--input={folder / file}", *words])
        return capsys.readouterr().out.splitlines()

    draw = ["--sample", "--temperature=1.5", "--seed=3"]
    first = printed(*draw)
    assert len(first) == 4 and len(set(first)) > 2 and printed(*draw) == first
    rows = [line.split("\t") for line in printed(*draw, "--num_samples=3")]
    assert [number for number, _, _ in rows] == [str(n) for n in (1, 2, 3, 4) for _ in range(3)]
    assert [text for _, _, text in rows[::3]] == first and len({text for _, _, text in rows}) > 6
    best = [line.split("\t") for line in printed(*draw, "--num_samples=3", "--nbest=2")]
    for number in (1, 2, 3, 4):
        wanted = sorted((float(score) for n, score, _ in rows if n == str(number)), reverse=True)[:2]
        assert [float(score) for n, score, _ in best if n == str(number)] == wanted


def test_the_best_of_a_beam_come_with_scores(translation, folder, capsys):
    (folder / "few.de").write_text("eins zwei\n\ndrei\n")
    eval.main([f"--workdir={translation}", f"--input={folder / 'few.de'}", "--beam_size=4", "--nbest=3"])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [number for number, _, _ in rows] == ["1", "1", "1", "2", "3", "3", "3"] and rows[3][2] == ""
    eval.main([f"--workdir={translation}", f"--input={folder / 'few.de'}", "--beam_size=4"])
    assert capsys.readouterr().out.splitlines() == [rows[0][2], "", rows[4][2]]
    assert [float(score) for _, score, _ in rows[:3]] == sorted((float(s) for _, s, _ in rows[:3]), reverse=True)


def test_attention_pictures(translation, folder, capsys):
    eval.main([f"--workdir={translation}", f"--attention={folder / 'pictures'}", "--split=val"])
    printed = capsys.readouterr().out.split()
    assert len(printed) == eval.PICTURES == len(set(printed))
    for path in printed:
        assert (folder / path).read_bytes().startswith(b"\x89PNG")


def test_bits_per_byte_by_hand(language, folder):
    found = evaluate(language)
    whole = (folder / "language_text" / "input.txt").read_text()
    part = whole[int(len(whole) * 0.9) :]
    assert len(part.encode()) > len(part)  # some characters have two bytes
    run = restore(language)
    ids = run.task.encode_target([part])[0]
    fed = np.concatenate([[1], ids[:-1]])
    nats = 0.0
    for first in range(0, len(ids), 16):
        window = jnp.asarray(fed[None, first : first + 16])
        nothing = jnp.zeros((1, 0), jnp.int32)
        logits = run.model(nothing, nothing > 0, window).logits
        nats += float(cross_entropy(logits, jnp.asarray(ids[None, first : first + 16])).nll.sum())
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(part.encode()), rel=1e-5)
    assert found["loss"] == pytest.approx(nats / len(ids), rel=1e-5)
    assert found["by_source_length"] == [] == found["by_distance"] and found["bleu"] is None


def test_bits_per_byte_of_a_part_are_a_byte_as_well(language):
    whole, part = evaluate(language), evaluate(language, "--limit=4")
    assert part["num_examples"] == 4
    assert part["bits_per_byte"] / part["loss"] == pytest.approx(whole["bits_per_byte"] / whole["loss"])


def test_unknown_characters_are_counted_and_have_no_bits_per_byte(language, folder, capsys):
    (folder / "unseen.txt").write_text("It was Ж. A child.\n" * 8, encoding="utf-8")
    eval.main([f"--workdir={language}", f"--target={folder / 'unseen.txt'}"])
    (path,) = (language / "eval").glob("unseen.txt-????????.json")
    found, said = json.loads(path.read_text()), capsys.readouterr().err
    assert found["bits_per_byte"] is None and found["unknown_target_share"] == pytest.approx(1 / 19)
    assert "5.26% of the target tokens are unknown" in said and "bits per byte are left out" in said
    assert evaluate(language)["unknown_target_share"] == 0


def test_a_language_model_goes_on_from_each_line(language, folder, capsys):
    (folder / "prompts").write_text("It was\nA child\n")
    eval.main(
        [
            f"--workdir={language}",
            f"--data_dir={folder}",
            f"--input={folder / 'prompts'}",
            "--max_len=12",
            "--sample",
            "--seed=3",
        ]
    )
    first, second = capsys.readouterr().out.rstrip("\n").split("A child")
    assert first.startswith("It was") and len(first) > len("It was\n") and second


def test_a_language_model_is_scored_on_any_text(language, folder):
    whole = (folder / "language_text" / "input.txt").read_text()
    (folder / "val.txt").write_text(whole[int(len(whole) * 0.9) :])
    eval.main([f"--workdir={language}", f"--data_dir={folder}", f"--target={folder / 'val.txt'}"])
    (path,) = (language / "eval").glob("val.txt-????????.json")
    found, on_split = json.loads(path.read_text()), evaluate(language)
    assert found["bits_per_byte"] == pytest.approx(on_split["bits_per_byte"])


def test_accuracy_against_distance(recall):
    found = evaluate(recall, split="test")
    assert found.keys() >= KEYS and found["num_examples"] == 32
    rows = found["by_distance"]
    assert len(rows) > 3 and sum(row["num_answers"] for row in rows) <= 2 * 32
    answers = np.array([row["num_answers"] for row in rows])
    for name in ("token_accuracy", "loss"):
        values = np.array([row[name] for row in rows])
        assert (answers * values).sum() / answers.sum() == pytest.approx(found[name], rel=1e-5)
    assert found["chance"] == restore(recall).task.chance
    assert len(lines(recall / "eval" / "test.predictions.txt")) == 32


def test_real_answers_have_no_perplexity(folder):
    train.train(runs.config("adding", "rnn", steps=2), folder / "adding")
    found = evaluate(folder / "adding", split="test")
    assert found["perplexity"] is None and found["loss"] >= 0 and found["bleu"] is None
    assert found["chance"] == {"loss": pytest.approx(1 / 6)}
    assert [float(line) for line in lines(folder / "adding" / "eval" / "test.predictions.txt")][31:]


@pytest.mark.parametrize(
    ("run", "words", "said"),
    [
        ("translation", ["--split=vaal"], "--split = 'vaal' is not known; did you mean val? choose"),
        ("translation", ["--source=x"], "--source = x is of --target; give both or neither"),
        ("translation", ["--source=nowhere.de", "--target=nowhere.en"], "--source = nowhere.de is not a file in "),
        ("translation", ["--source=README.md", "--target=nowhere.en"], "--target = nowhere.en is not a file in "),
        ("translation", ["--source=README.md", "--target=LICENSE"], "--source = README.md has "),
        ("language", ["--target=nowhere"], "--target = nowhere is not a file in "),
        ("translation", ["--input=docs"], "--input = docs is not a file in "),
        ("translation", ["--beam_size=0"], "--beam_size = 0 is out of range; use 1 or more"),
        ("translation", ["--top_p=2", "--sample"], "--top_p = 2.0 is out of range"),
        ("translation", ["--checkpoint=newest"], "choose from"),
        ("translation", ["--spilt=val"], "unrecognized arguments: --spilt=val; did you mean --split?"),
        ("translation", ["--limit=0"], "--limit = 0 is out of range; use 1 or more"),
        ("translation", ["--input=nowhere"], "--input = nowhere is not a file in "),
        ("translation", ["--nbest=3"], "--nbest = 3 is of --input; give both"),
        ("translation", ["--nbest=7", "--input=-"], "--nbest = 7 is more than --beam_size = 5; use --beam_size=7"),
        ("translation", ["--nbest=2", "--sample", "--input=-"], "--nbest = 2 is more than --num_samples = 1"),
        ("translation", ["--num_samples=2", "--input=-"], "--num_samples = 2 is of --sample"),
        ("language", ["--attention=pictures"], "gru_decoder has no attention to draw"),
        ("language", ["--source=a", "--target=b"], "a language model has no source to read; give --target alone"),
        ("translation", ["--target=b"], "--target = b needs --source"),
        ("translation", ["--split=tset"], "did you mean test?"),
        ("translation", ["--input=-", "--limit=3"], "--input = - and --limit = 3 exclude each other; leave one out"),
        ("translation", ["--temperature=nan", "--sample"], "--temperature = nan is out of range"),
        (
            "translation",
            ["--temperature=1e-39", "--sample"],
            "--temperature = 1e-39 is out of range; use 0, or 1",
        ),
        ("translation", ["--temperature=0.5", "--top_k=3"], "--temperature = 0.5 is of --sample; give both"),
        ("translation", ["--seed=0"], "--seed = 0 is of --sample; give both"),
        ("translation", ["--sample", "--beam_size=3"], "--sample = True and --beam_size = 3 exclude each other"),
        ("translation", ["--max_len=2"], "--max_len = 2 is of --input"),
        ("translation", ["--input=-", "--max_len=2"], "--max_len = 2 is of a language model; leave it out"),
        (
            "translation",
            ["--input=-", "--split=val"],
            "--split = val and --input = - exclude each other; leave one out",
        ),
        ("translation", ["--input=-", "--target=x", "--source=x"], "--input = - and --target = x exclude each other"),
        ("translation", ["--data_dir=nowhere"], "--data_dir = nowhere is not a folder"),
        ("translation", ["--length_penalty=inf"], "--length_penalty = inf is out of range; use 0 or more, at most 100"),
        ("translation", ["--limit=-1"], "--limit = -1 is out of range"),
        ("language", ["--length_penalty=0"], "--length_penalty: nothing is decoded here; leave it out"),
        ("translation", ["--sample", "--top_k=100000"], "leaves out none of"),
        ("translation", ["--attention=pictures", "--beam_size=5"], "exclude each other"),
        ("language", ["--beam_size=2"], "--beam_size: nothing is decoded here; leave it out"),
        ("recall", ["--data_dir=."], "--data_dir = .: recall reads no files; leave it out"),
        ("recall", ["--split=train"], "never ends"),
        ("recall", ["--input=-"], "--input = -: recall makes its own examples"),
        ("recall", ["--source=a", "--target=b"], "--source = a: recall makes its own examples"),
    ],
)
def test_mistakes_end_in_one_line(request, capsys, run, words, said):
    workdir = request.getfixturevalue(run)
    capsys.readouterr()  # the run's own lines, where this test is its first
    with pytest.raises(SystemExit) as ended:
        eval.main([f"--workdir={workdir}", *words])
    printed = capsys.readouterr()
    assert ended.value.code == 2 and printed.out == ""
    assert said in printed.err and printed.err.count("\n") == 1


USES = {  # each option of eval.py with those that it needs
    "split": ["--split=val"],
    "checkpoint": ["--checkpoint=best"],
    "data_dir": ["--data_dir=docs"],
    "limit": ["--limit=1"],
    "target": ["--target=y"],
    "source": ["--target=y", "--source=x"],
    "input": ["--input=-"],
    "attention": ["--attention=z"],
    "beam_size": ["--beam_size=5"],
    "length_penalty": ["--length_penalty=0"],
    "sample": ["--sample"],
    "temperature": ["--sample", "--temperature=1"],
    "top_k": ["--sample", "--top_k=0"],
    "top_p": ["--sample", "--top_p=1"],
    "seed": ["--sample", "--seed=0"],
    "num_samples": ["--input=-", "--sample", "--num_samples=1"],
    "nbest": ["--input=-", "--nbest=0"],
    "max_len": ["--input=-", "--max_len=200"],
    "mix": ["--mix=other:0.5"],
    "neighbours": ["--neighbours=dog"],
    "analogy": ["--analogy=man:woman::boy"],
    "analogies": ["--analogies"],
}
PARTS = {"split", "target", "source", "limit"}  # of an evaluation
DRAWS = {"sample", "temperature", "top_k", "top_p", "seed", "num_samples"}
LINES = {"input", "num_samples", "nbest", "max_len"}
SEARCH = {"beam_size", "length_penalty"}
EXCLUDING = [({"split"}, {"target", "source"}), (PARTS, LINES), ({"attention"}, LINES | DRAWS | SEARCH | {"limit"})]
EXCLUDING += [(SEARCH, DRAWS), ({"mix"}, LINES | {"attention"})]
EXCLUDING += [({"neighbours", "analogy", "analogies"}, PARTS | LINES | DRAWS | SEARCH | {"attention", "mix"})]
EXCLUDING += [({"neighbours"}, {"analogy", "analogies"}), ({"analogy"}, {"analogies"})]


@pytest.mark.parametrize("one", USES)
def test_every_pair_of_options(one, capsys):
    """Also where a value is the default: an option that is given and does nothing is a mistake."""
    for word in USES[one][:-1]:  # needed
        with pytest.raises(SystemExit) as ended:
            eval_options.parse(["--workdir=run", *(other for other in USES[one] if other != word)])
        assert ended.value.code == 2 and "give both or neither" in capsys.readouterr().err
    for other in USES:
        words = ["--workdir=run", *dict.fromkeys([*USES[one], *USES[other]])]
        if any((one in a and other in b) or (other in a and one in b) for a, b in EXCLUDING):
            with pytest.raises(SystemExit) as ended:
                eval_options.parse(words)
            said = capsys.readouterr().err
            assert ended.value.code == 2 and "exclude each other; leave one out" in said and said.count("\n") == 1
        else:
            eval_options.parse(words)


def test_the_table_of_options_is_whole(capsys):
    with pytest.raises(SystemExit):
        eval_options.parse(["--help"])
    usage = capsys.readouterr().out.partition("\n\n")[0]
    assert set(re.findall(r"--(\w+)", usage)) == {*USES, "workdir"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"--{name}="], f"--{name} is empty; give a value, or leave it out")
        for name in ("workdir", "split", "checkpoint", "data_dir", "source", "target", "input", "attention", "seed")
    ]
    + [
        (["--input", ""], "--input is empty"),
        (["--beam_size=1", "--length_penalty=0.6"], "--length_penalty is of a beam, and --beam_size = 1 is none"),
        (
            ["--sample", "--temperature=0", "--top_k=5"],
            "--top_k does nothing where --temperature = 0 takes the maximum",
        ),
        (["--sample", "--temperature=0", "--top_p=0.5"], "--top_p does nothing where --temperature = 0"),
        (["--sample", "--temperature=0", "--seed=0"], "--seed does nothing where --temperature = 0"),
        (["--sample", "--temperature=0", "--num_samples=2", "--input=-"], "--num_samples does nothing where"),
        (
            ["--sample", "--top_k=1", "--temperature=2"],
            "--temperature does nothing where --top_k = 1 takes the maximum",
        ),
        (["--max_len=65537", "--input=-"], "--max_len = 65537 is out of range; use 1 or more, at most 65536"),
        (["--max_len=0", "--input=-"], "--max_len = 0 is out of range"),
        (["--seed=-1", "--sample"], "--seed = -1 is out of range"),
    ],
)
def test_options_that_do_nothing(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        eval_options.parse(words if words[0] == "--workdir=" else ["--workdir=run", *words])
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and said in printed and printed.count("\n") == 1


def test_another_text_has_results_of_its_own(translation, text, folder, capsys):
    """Of another folder or an edited one, of a split that training has read and of one that it has not."""
    other = shutil.copytree(text, folder / "other_text")
    for split in ("val", "test"):
        for language in ("de", "en"):
            lines = (other / f"{split}.{language}").read_text().splitlines()
            (other / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines[:5]))
    for split in ("val", "test"):
        evaluate(translation, "--beam_size=1", split=split)
        before = {path: path.read_bytes() for path in (translation / "eval").glob(f"{split}-greedy.*")}
        eval.main([f"--workdir={translation}", f"--split={split}", "--beam_size=1", f"--data_dir={other}"])
        assert f"{split}: its text is not the one of before" in capsys.readouterr().err
        (path,) = (translation / "eval").glob(f"{split}-????????-greedy.json")
        found = json.loads(path.read_text())
        assert found["num_examples"] == 5 and found["data_dir"] == str(other) and path.stem.startswith(found["split"])
        assert len(before) == 2 and all(path.read_bytes() == content for path, content in before.items())
    eval.main([f"--workdir={translation}", "--split=val", f"--data_dir={other}", f"--attention={folder / 'drawn'}"])
    eval.main([f"--workdir={translation}", "--split=val", "--checkpoint=last", f"--attention={folder / 'drawn'}"])
    names = {path.name.rpartition("-")[0] for path in (folder / "drawn").iterdir()}
    assert names == {
        f"translation-{json.loads(path.read_text())['split']}"
        for path in (translation / "eval").glob("val-????????-greedy.json")
    } | {"translation-val-last"}


def test_blank_lines_are_translated_to_blank_lines(translation, folder, capsys):
    for text in ("\n\n\n", ""):
        (folder / "blank.de").write_text(text)
        capsys.readouterr()
        eval.main([f"--workdir={translation}", f"--input={folder / 'blank.de'}"])
        assert capsys.readouterr().out == text


def test_predictions_keep_the_places_of_queries_that_do_not_count(recall):
    evaluate(recall, split="test")
    config = read_config(recall)
    written = [line.split() for line in lines(recall / "eval" / "test.predictions.txt")]
    assert {len(line) for line in written} == {config.data.num_queries}
    assert any("-" in line for line in written) and any(word != "-" for line in written for word in line)


def test_closed_standard_input_is_one_line(translation, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SystemExit) as ended:
        eval.main([f"--workdir={translation}", "--input=-"])
    assert ended.value.code == 2 and "standard input is closed; give a file" in capsys.readouterr().err


def test_help_says_the_defaults(capsys):
    with pytest.raises(SystemExit):
        eval_options.parse(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    for option, (default, *_) in eval_options.DECODING.items():
        assert f"(default: {default:g})" in said[said.rindex(f"--{option} ") :][:200]


def test_data_that_moved_are_found_by_an_option(translation, folder, capsys):
    """Of a run whose data.dir is relative, evaluated from another folder."""
    moved = shutil.copytree(translation, folder / "moved")
    recorded = json.loads((moved / "config.json").read_text())
    recorded["config"]["data"]["dir"] = "text_of_then"
    (moved / "config.json").write_text(json.dumps(recorded))
    with pytest.raises(SystemExit) as ended:
        eval.main([f"--workdir={moved}"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1
    where = f"error: {moved}/config.json: data.dir = text_of_then is not a folder in {ROOT}; "
    assert said.startswith(f"{where}give one that holds train.de[.gz]")
    assert said.endswith("; --data_dir says where the data lie now\n")


def test_a_tokenizer_that_is_gone_is_not_learned_from_other_text(translation, text, folder, capsys):
    bare = shutil.copytree(translation, folder / "bare")
    shutil.rmtree(bare / "tokenizer")
    other = shutil.copytree(text, folder / "longer_text")
    for language in ("de", "en"):
        with (other / f"train.{language}").open("a") as file:
            file.write("qqq\n")
    words = [f"--workdir={bare}", f"--input={text / 'val.de'}", "--beam_size=1"]
    with pytest.raises(SystemExit) as ended:
        eval.main([*words, f"--data_dir={other}"])
    assert ended.value.code == 2 and not (bare / "tokenizer").exists()
    assert "tokenizer is gone, and the text has changed since it was learned from it" in capsys.readouterr().err
    eval.main(words)
    shutil.rmtree(bare / "best")
    with pytest.raises(SystemExit):
        eval.main(words)
    assert capsys.readouterr().err == f"error: {bare}/best holds no checkpoint; try --checkpoint=last\n"


def test_decoding_that_does_not_fit_names_the_options_of_eval(translation, monkeypatch, capsys, folder):
    """Before it runs: on a CPU the system would end the process without a word."""
    (folder / "one.de").write_text("eins zwei\n")
    monkeypatch.setattr(programs.backend, "device_bytes", lambda: 10_000)
    with pytest.raises(SystemExit) as ended:
        eval.main([f"--workdir={translation}", f"--input={folder / 'one.de'}", "--beam_size=7"])
    printed = capsys.readouterr()
    assert ended.value.code == 1 and printed.out == "" and printed.err.count("\n") == 1
    assert "memory ran out: a program that decodes takes 0.0 GB; a device has" in printed.err
    assert "lower --beam_size" in printed.err and "batch_size" not in printed.err.replace("beam_size", "")


def test_missing_checkpoint_is_said(translation, folder, capsys):
    begun = folder / "begun"
    begun.mkdir()
    (begun / "config.json").write_text((translation / "config.json").read_text())
    with pytest.raises(SystemExit) as ended:
        eval.main([f"--workdir={begun}"])
    assert ended.value.code == 2
    assert "holds no checkpoint yet; let the run get to its first one" in capsys.readouterr().err


def test_a_mistake_ends_the_process_without_a_traceback(folder):
    words = command(folder / "absent", "--split=val")
    process = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert process.returncode == 2 and process.stdout == ""
    assert process.stderr.startswith(f"error: --workdir = {folder / 'absent'} holds no run")
    assert process.stderr.count("\n") == 1
