"""A user's mistake is one line that names file, key, value, rule and way out, exits with 2 and writes nothing."""

import ast
import json
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pytest

import train
from data import TASKS
from models import MODELS
from models.contract import Architecture
from models.options import EVERY, flat
from tests.training.processes import ROOT, command, run, write_text
from training.command import cli, eval_options, usage
from training.run import run_folder

FILES = usage.config_files()
RECALL = "configs/recall.py"


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def refusal(capsys, *words: str) -> str:
    """What `train.py` says of words that it must refuse before anything is built."""
    with pytest.raises(SystemExit) as stopped:
        cli.parse(words)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith("error: ") and said.endswith("\n") and said.count("\n") == 1
    return said


def recall(*words: str, model: str = "transformer") -> list[str]:
    return [f"--config={RECALL}:{model}", "--workdir=runs/never", *words]


def test_overrides_reach_the_locked_config():
    words = recall("--config.model.num_heads=8", "--config.seed", "3", "--config.deterministic", "--accept_changes")
    options = cli.parse([*words, "--config.optimizer.learning_rate=1e-2", "--config.wandb.name=mine"])
    config = options.config
    assert (config.model.num_heads, config.seed, config.deterministic) == (8, 3, True)
    assert (config.optimizer.learning_rate, config.wandb.name) == (0.01, "mine")
    assert (options.workdir, options.accept_changes, options.config_file) == (Path("runs/never"), True, RECALL)
    assert config.is_locked and config.model.is_locked


def test_a_short_run_warms_up_as_long_as_it_is():
    assert cli.parse(recall("--config.steps=10")).config.schedule.warmup_steps == 10
    assert cli.parse(recall("--config.steps=500")).config.schedule.warmup_steps == 100


def test_widths_follow_a_flag_s_width_unless_a_flag_or_the_task_sets_them(tmp_path):
    def model(*words, name="transformer", file=RECALL):
        return cli.parse([f"--config={file}:{name}", "--workdir=runs/never", *words]).config.model

    assert model("--config.model.hidden_size=16").mlp_dim == 64
    assert model("--config.model.hidden_size", "16", name="gru").embed_size == 16
    assert model("--config.model.hidden_size=16", name="gru_attention").attention.size == 16
    for words in (("--config.model.mlp_dim=256",), ("--config.model.mlp_dim", "256")):  # as wide as without them
        assert model("--config.model.hidden_size=16", *words).mlp_dim == 256
    own = tmp_path / "own.py"
    own.write_text(
        (ROOT / RECALL).read_text().replace("    return config", "    config.model.mlp_dim = 24\n    return config")
    )
    assert model("--config.model.hidden_size=16", file=own).mlp_dim == 24


def test_a_mixer_s_key_that_no_layer_reads_is_said():
    words = recall("--config.model.mixers=gru", "--config.model.conv.kernel_size=9", model="decoder")
    said = r"^model.conv.kernel_size = 9 does nothing with model.mixers = gru: no layer reads it$"
    with pytest.warns(UserWarning, match=said):
        assert cli.parse(words).config.model.conv.kernel_size == 9


def test_the_config_is_printed(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse(recall("--config.seed=3", "--print_config"))
    assert not stopped.value.code and json.loads(capsys.readouterr().out)["seed"] == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([f"--config={RECALL}:gru", "--config.steps=0"], f"{RECALL}: steps = 0 is too small"),
        ([f"--config={RECALL}:transformer", "--config.model.num_heads=3"], "model.num_heads = 3 does not divide"),
        ([f"--config={RECALL}:gru", "--config.data.num_keys=1"], "data.num_keys = 1 "),
        (["--config=configs/translate.py:transformer", "--config.model.num_heads=3"], "model.num_heads = 3 does not"),
        (["--config=configs/translate.py:gru", "--config.data.num_buckets=0"], "data.num_buckets = 0 "),
        (["--config=configs/translate.py:gru", "--config.data.tokenizer.name=bp"], "data.tokenizer.name = 'bp' is not"),
        (["--config=configs/translate.py:gru", "--config.data.max_length=1"], "data.max_length = 1 "),
        (["--config=configs/tfds.py:transformer", "--config.model.num_heads=3"], "model.num_heads = 3 does not"),
        (["--config=configs/shakespeare.py:gru"], "configs/shakespeare.py: model = 'gru' needs a source"),
    ],
)
def test_what_no_run_can_have_is_not_printed(capsys, words, told):
    assert told in refusal(capsys, *words, "--print_config") and not capsys.readouterr().out


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_is_printed_without_its_data(capsys, file):
    with pytest.raises(SystemExit) as stopped:
        cli.parse([f"--config={file}:gru_decoder", "--print_config"])
    assert not stopped.value.code and json.loads(capsys.readouterr().out)["task"] == file.stem


@pytest.mark.parametrize(
    "error",
    [jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nmore"), MemoryError("9 TiB")],
)
def test_memory_that_runs_out_is_one_line(capsys, error):
    with pytest.raises(SystemExit) as stopped, cli.user_errors(less_memory="lower this"):
        raise error
    said = capsys.readouterr().err
    assert stopped.value.code == cli.FAILURE and said.startswith("error: memory ran out: ") and said.count("\n") == 1
    assert said.endswith(" GB; lower this\n")


def test_a_warning_is_one_plain_line():
    said = warnings.formatwarning(UserWarning("a run\nhas changed"), UserWarning, "here.py", 3)
    assert said == "warning: a run has changed\n"


def test_a_full_disk_under_the_compilation_cache_is_said_once(monkeypatch):
    monkeypatch.setattr(cli, "said_of_cache", set())
    entry = "Error {} persistent compilation cache entry for '{}': full"
    about = [entry.format("writing", "jit_f"), entry.format("writing", "jit_g"), entry.format("reading", "jit_f")]
    said = [warnings.formatwarning(UserWarning(one), UserWarning, "here.py", 3) for one in about]
    more = "; more of these are not said\n"
    assert said == [f"warning: {about[0]}{more}", "", f"warning: {about[2]}{more}"]


def test_a_setting_comes_after_the_architecture():
    assert cli.parse(recall(model="gru,zoology_64_4")).config.data.num_keys == 4095


def test_the_home_folder_is_found_in_any_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    options = cli.parse(
        [f"--config={RECALL}:gru", "--workdir=~/x", "--config.wandb.name=~/b", "--config.wandb.group=~"]
    )
    wandb = options.config.wandb
    assert (options.workdir, wandb.name, wandb.group) == (tmp_path / "x", f"{tmp_path}/b", "~")
    assert eval_options.parse(["--workdir", "~/x", "--input=~/in"]).options.input == f"{tmp_path}/in"
    assert eval_options.parse(["--workdir", "~/x", "--input=~/in"]).options.workdir == tmp_path / "x"
    assert eval_options.parse(["--workdir=~", "--input=~/in"]).options.workdir == tmp_path


def test_a_home_folder_that_nobody_knows_is_one_line(monkeypatch, capsys):
    for word in ("--workdir=~nosuchuser/x", "--workdir=~nosuchuser/"):
        assert f"{word}: there is no such home folder, or HOME is not set; give the wh" in refusal(capsys, word)
    monkeypatch.setenv("HOME", "")
    assert "--workdir=~/x: there is no such home folder" in refusal(capsys, "--workdir=~/x")
    with pytest.raises(SystemExit, match="2"):
        eval_options.parse(["--workdir=runs/x", "--input=~/in"])
    assert "error: --input=~/in: there is no such home folder" in capsys.readouterr().err


MISTAKES = {
    "no key": ("--config.=3", "= '3' is not a key; choose from"),
    "translations of no text": ("--config.every.decode=500", "every.decode = 500: answers of recall are no text"),
    "the best translations of no text": ("--config.best.metric=bleu", "best.metric = 'bleu': answers of recall are no"),
    "misspelt key": ("--config.sede=3", "sede = '3' is not a key; did you mean seed?"),
    "misspelt key below": ("--config.model.num_head=3", "model.num_head = '3' is not a key; did you mean model.num_h"),
    "misspelt group": ("--config.modle.num_heads=3", "did you mean model.num_heads?"),
    "key without its group": ("--config.learning_rate=3", "did you mean optimizer.learning_rate?"),
    "key in two words": ("--config.learning_rat", "did you mean optimizer.learning_rate?"),
    "no such key at all": ("--config.xyzzy=3", "choose from batch_size, best"),
    "a group": ("--config.every=3", "set one of every.decode, every.eval, every.log, every.save"),
    "the model as a value": ("--config.model=gru", f"use --config={RECALL}:gru"),
    "the model's name": ("--config.model.name=gru", f"use --config={RECALL}:MODEL"),
    "the task's name": ("--config.task=copying", "use --config=configs/copying.py:transformer"),
    "float for int": ("--config.steps=1e4", "steps = '1e4' is not a whole number; did you mean 10000?"),
    "too much for an int": ("--config.steps=1e30", "steps = '1e30' is not a whole number; it is "),
    "no task": ("--config.task=a/b", f"use --config={RECALL}:transformer"),
    "word for int": ("--config.steps=many", "steps = 'many' is not a whole number"),
    "word for float": ("--config.label_smoothing=x", "label_smoothing = 'x' is not a number; it is 0.0 now"),
    "word for bool": ("--config.model.tie_embeddings=maybe", "is not true or false"),
    "negative rate": ("--config.optimizer.learning_rate=-1", "optimizer.learning_rate = -1.0 is not positive"),
    "rate not a number": ("--config.optimizer.learning_rate=nan", "is not a finite number"),
    "endless": ("--config.steps=99999999999", "steps = 99999999999 is too large; use 2147483647 or less"),
    "seed": ("--config.seed=4294967296", "seed = 4294967296 is too large; use 4294967295 or less"),
    "no steps": ("--config.steps=0", "steps = 0 is too small; use 1 or more"),
    "never logs": ("--config.every.log=0", "every.log = 0 is too small"),
    "rate beyond reason": ("--config.optimizer.learning_rate=1e30", "learning_rate = 1e+30 is too large; use 1000 or"),
    "eps of nothing": ("--config.optimizer.eps=1e-50", "optimizer.eps = 1e-50 is nothing in float32"),
    "a task's number": ("--config.data.query_power=inf", "data.query_power = inf is not a finite number"),
    "processes": ("--config.workers=99999", "workers = 99999 is too large; use "),
    "devices": ("--config.cpu_devices=100000", "cpu_devices = 100000 is too large; use "),
    "layers": ("--config.model.num_layers=1000000", "model.num_layers = 1000000 is too large; use 1000 or less"),
    "a size in bits": ("--config.data.num_keys=99999999999", "data.num_keys = 99999999999 is too large"),
    "a text's batch": ("--config.tokens_per_batch=9", "is not a key; this task has batch_size; set that"),
    "a part of its name": ("--config.model.heads=8", "model.heads = '8' is not a key; did you mean model.num_heads?"),
    "a model's key without its group": ("--config.num_heads=8", "did you mean model.num_heads?"),
    "words in another order": ("--config.save_every=8", "save_every = '8' is not a key; did you mean every.save?"),
    "a group that is spelt otherwise": ("--config.optimiser.name=sgd", "did you mean optimizer.name?"),
    "the nearest of two rooms": ("--config.num_workers=3", "did you mean workers?"),
    "initials": ("--config.model.lr=1", "model.lr = '1' is not a key; did you mean optimizer.learning_rate?"),
    "letters that changed places": ("--config.data.num_kyes=3", "did you mean data.num_keys?"),
    "what other tasks have": ("--config.data.dir=x", "data.dir = 'x' is not a key; choose from data.min_pairs"),
    "misspelt, of another architecture": (
        "--config.model.attention.sizes=8",
        "model.attention.sizes = '8' is not a key; transformer has no attention.size (rnn_attention, lstm_attention",
    ),
    "far from everything": ("--config.model.foo=8", "model.foo = '8' is not a key; choose from model."),
    "no micro-batch": ("--config.optimizer.accumulation=0", "use 1 or more"),
    "more micro-batches than examples": ("--config.optimizer.accumulation=99", "is more than batch_size = 32, so that"),
    "dropout of one": ("--config.model.dropout_rate=1.0", "model.dropout_rate = 1.0 is not in [0, 1)"),
    "smoothing of one": ("--config.label_smoothing=1.0", "label_smoothing = 1.0 is not in [0, 1)"),
    "momentum of one": ("--config.optimizer.b2=1.0", "optimizer.b2 = 1.0 is not in [0, 1)"),
    "momentum of one as float32": ("--config.optimizer.b1=0.99999999999", "b1 = 0.99999999999 is not in [0, 1) as flo"),
    "clipping to nothing": (
        "--config.optimizer.clip_norm=1e-50",
        "clip_norm = 1e-50 is nothing in float32; use 0",
    ),
    "another optimizer's key": (
        "--config.optimizer.momentum=0.9",
        "optimizer.momentum = 0.9 does nothing with optimizer.name = adam; use sgd, or leave it out",
    ),
    "nothing to decode": ("--config.decode_examples=9", "decode_examples = 9 does nothing with every.decode = 0"),
    "negative clipping": ("--config.optimizer.clip_norm=-1", "is negative; use 0 (off) or more"),
    "final share": ("--config.schedule.final_fraction=2", "is not in [0, 1]"),
    "long warm-up": ("--config.schedule.warmup_steps=99999", "is more than steps"),
    "optimizer": ("--config.optimizer.name=adamm", "did you mean adam? choose from adam, adamw, sgd, adafactor"),
    "schedule": ("--config.schedule.name=cosin", "did you mean cosine?"),
    "metric": ("--config.best.metric=accuracy", "choose from loss, perplexity, token_accuracy, exact_match"),
    "wandb mode": ("--config.wandb.mode=of", "choose from auto, online, offline, disabled"),
    "dtype": ("--config.model.dtype=float16", "model.dtype = 'float16' is not"),
    "another architecture's key": ("--config.model.embed_size=8", "transformer has no embed_size (rnn, lstm, gru, "),
    "width": ("--config.model.hidden_size=0", "model.hidden_size = 0 is not a positive number"),
}


def test_a_name_that_is_too_long_is_one_line(capsys):
    said = refusal(capsys, f"--config={RECALL}:gru", f"--workdir=/tmp/{'x' * 300}")
    assert "file name too long; give another path" in said and len(said) < 200


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_override_is_one_line_with_its_file(capsys, mistake):
    word, told = MISTAKES[mistake]
    said = refusal(capsys, *recall(word))
    assert said.startswith(f"error: {RECALL}: ") and told in said


COMMANDS = {
    "a key without a value": (recall("--config.steps"), "--config.steps has no value; give it as --config.steps=VALUE"),
    "another schedule's key": (
        recall("--config.schedule.final_fraction=0.5", "--config.schedule.name=constant"),
        "schedule.final_fraction = 0.5 does nothing with schedule.name = constant; use cosine or linear, or leave it",
    ),
    "wandb's key beside another tracker": (
        recall("--config.wandb.mode=offline", "--config.tracker.name=tensorboard"),
        "wandb.mode = offline does nothing with tracker.name = tensorboard; use wandb, or leave it out",
    ),
    "nothing at all": ([], "--config is missing"),
    "no such file": (["--config=configs/recal.py:gru"], "did you mean configs/recall.py?"),
    "no architecture": ([f"--config={RECALL}"], "names no architecture; give one, as in"),
    "unknown architecture": ([f"--config={RECALL}:gru_atention"], "did you mean gru_attention?"),
    "unknown setting": ([f"--config={RECALL}:gru,zoology_64"], "did you mean zoology_64_4?"),
    "unknown flag": (recall("--workdri=3"), "--workdri is not a flag; did you mean --workdir?"),
    "unknown group of flags": (recall("--cofnig.seed=3"), "did you mean --config.seed?"),
    "another architecture's key alone": (
        recall("--num_heads=3", model="gru"),
        "--num_heads is not a flag; gru has no num_heads (transformer, transformer_decoder, ",
    ),
    "another architecture's key without its group": (
        recall("--config.num_heads=3", model="gru"),
        "num_heads = '3' is not a key; gru has no num_heads (transformer, transformer_decoder, ",
    ),
    "an architecture's key alone": (recall("--num_heads=3"), "did you mean --config.model.num_heads?"),
    "a text's batch alone": (
        ["--config=configs/translate.py:gru", "--batch_size=4"],
        "--batch_size is not a flag; this task has --config.tokens_per_batch; set that",
    ),
    "a group alone": (recall("--wandb=disabled"), "set one of --config.wandb.group, --config.wandb.mode"),
    "a flag that is nearer than a key": (recall("--work_dir=x"), "--work_dir is not a flag; did you mean --workdir?"),
    "a flag that is like none": (recall("--xyzzy=3"), "--xyzzy is not a flag; choose from --workdir"),
    "no flag of a task without text": (
        ["--config=configs/shakespeare.py:gru_decoder", "--workdir=runs/never", "--config.every.decode=500"],
        "every.decode = 500: answers of shakespeare are no text to compare; use 0",
    ),
    "a key without --config": (recall("--steps=3"), "--steps is not a flag; did you mean --config.steps?"),
    "a size that others follow": (
        recall("--config.model.hidden_size=99999999999"),
        "model.hidden_size = 99999999999 is too large",
    ),
    "a model that is none": (recall("--config.model=3"), "model = '3' is a group of keys; set one of model.activation"),
    "a model's key alone": (recall("--hidden_size=3"), "did you mean --config.model.hidden_size?"),
    "absl's own": (recall("--flagfile=missing"), "--flagfile is not a flag; set values as --config.KEY=VALUE"),
    "a word that is not a flag": (recall("seed=3"), "seed=3 is not a flag"),
    "no folder": ([f"--config={RECALL}:gru"], "--workdir is missing; give the run's folder"),
    "a folder that is a file": ([f"--config={RECALL}:gru", "--workdir=README.md"], "README.md is a file"),
    "a process that is not a number": (recall("--process_id=x"), "--process_id = 'x' is not a whole number"),
    "half of two flags": (recall("--process_id=1"), "--num_processes and --process_id go together"),
}


@pytest.mark.parametrize("mistake", COMMANDS)
def test_a_wrong_command_is_one_line(capsys, mistake):
    words, told = COMMANDS[mistake]
    assert told in refusal(capsys, *words)


def refused_run(words: list[str], workdir: Path) -> str:
    """What the real program says; nothing may be written."""
    said = run(words, status=2)
    assert said.count("\n") == 1 and said.startswith("error: ")
    assert not workdir.exists()
    return said


@pytest.mark.processes
def test_values_that_only_the_model_or_the_data_can_judge(tmp_path):
    """As real processes: what comes out once building has begun is told and cleaned up alike."""
    text, workdir = write_text(tmp_path / "text"), tmp_path / "run"
    heads = ("--config.model.num_heads=3",)
    said = refused_run(command(workdir, text, *heads, model="transformer"), workdir)
    assert "configs/translate.py: model.num_heads = 3 does not divide model.hidden_size = 16; use 1, 2, 4, 8 or" in said
    said = refused_run(command(workdir, tmp_path / "missing"), workdir)
    assert f"configs/translate.py: data.dir = {tmp_path}/missing is not a folder" in said


@pytest.mark.processes
def test_an_architecture_that_needs_a_source_is_told_which_do_not(tmp_path):
    (tmp_path / "input.txt").write_text("To be, or not to be, that is the question.\n" * 40)
    workdir = tmp_path / "run"
    words = command(workdir, tmp_path)[:2]
    words += ["--config=configs/shakespeare.py:gru_attention", f"--config.data.dir={tmp_path}", f"--workdir={workdir}"]
    said = refused_run(words, workdir)
    assert "configs/shakespeare.py: model = 'gru_attention' needs a source" in said and "gru_decoder" in said


def test_a_refused_build_leaves_an_older_run_alone(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(ValueError, match="no"), run_folder.restored_on_error(tmp_path):
        (tmp_path / "tokenizer" / "new").write_text("")
        raise ValueError("no")
    assert (tmp_path / "tokenizer" / "new").exists()


def test_bugs_keep_their_tracebacks():
    with pytest.raises(ValueError, match="Expecting value"), cli.user_errors():
        json.loads("today")
    with pytest.raises(TypeError), cli.user_errors():
        raise TypeError


@pytest.mark.parametrize(
    ("error", "status"),
    [(FileNotFoundError("gone"), 2), (OSError("full"), 1), (FloatingPointError("nan"), 1), (ValueError("bad"), 2)],
)
def test_exit_status_tells_mistakes_from_failures(capsys, error, status):
    with pytest.raises(SystemExit) as stopped, cli.user_errors():
        raise error
    assert stopped.value.code == status
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.processes
def test_a_reader_that_has_seen_enough_ends_the_program_without_a_word():
    program = "from training.command import cli\nwith cli.user_errors():\n    while True: print('y')"
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert writer.stdout and writer.stderr
    assert writer.stdout.readline() == b"y\n"
    writer.stdout.close()
    assert writer.wait(timeout=60) == cli.READER_GONE and writer.stderr.read() == b""
    writer.stderr.close()


def test_help_says_how(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse(["--help"], train.__doc__ or "")
    assert stopped.value.code == 0
    assert "--config=configs/recall.py:gru_attention" in capsys.readouterr().out


# The configs themselves.


def test_every_task_has_a_config():
    assert {path.stem for path in FILES} == set(TASKS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", MODELS)
def test_config_of_every_task_and_architecture(path, name):
    file = path.relative_to(ROOT)
    config = cli.parse([f"--config={file}:{name}", "--workdir=runs/never"]).config
    assert (config.task, config.model.name) == (path.stem, name)
    assert config.wandb.group == path.stem and config.wandb.name == name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_new_architecture_gets_two_layers_of_the_task_s_width(monkeypatch, path):
    class Newcomer(Architecture):
        """Has no keys but those of every architecture."""

    monkeypatch.setitem(MODELS, "newcomer", Newcomer)
    model = cli.load(f"configs/{path.name}:newcomer").model
    assert model.num_layers == 2 and set(flat(model)) == {"name", *EVERY}
    others = [cli.load(f"configs/{path.name}:{name}").model for name in ("gru_decoder", "transformer_decoder")]
    assert [model.hidden_size] * 2 == [other.hidden_size for other in others]


def test_what_configs_share_names_no_architecture():
    shared = ast.parse((ROOT / "configs" / "common.py").read_text())
    assert not MODELS.keys() & {node.value for node in ast.walk(shared) if isinstance(node, ast.Constant)}


def test_same_keys_outside_data_and_model():
    def keys(file: Path, name: str) -> set[str]:
        config = cli.load(f"{file}:{name}").to_dict()
        del config["data"], config["model"]
        assert ("batch_size" in config) != ("tokens_per_batch" in config), f"{file} must have one of the two"
        return set(flat(config)) - {"batch_size", "tokens_per_batch"}

    first = keys(FILES[0], "gru")
    assert {"seed", "steps", "optimizer.name", "schedule.warmup_steps", "every.log", "wandb.mode"} <= first
    for path in FILES:
        for name in MODELS:
            assert keys(path.relative_to(ROOT), name) == first, f"{path.name}:{name}"
