"""What every test shares: one CPU device, a compiler that does not try hard, and the folder of real text.

Tests of several devices or processes start their own (`tests/training/processes.py`) and carry the mark `processes`;
tests that train or compile for many seconds carry the mark `slow`. `make test-fast` leaves both out, and with them the
contract of all but two architectures; `pytest tests/models -k NAME` has that of any one.
"""

import gc
import os
import signal
import tempfile
from pathlib import Path

import pytest

# Compiling is most of what tests cost. These four make it six times cheaper and the programs, which are small, slower.
# Subprocesses inherit them; a test of how fast something is, or of one program's bits against another's, sets its own.
IN_HASTE = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported
if IN_HASTE not in os.environ.get("XLA_FLAGS", ""):  # pytest's workers inherit it from the first process
    os.environ["XLA_FLAGS"] = f"{IN_HASTE} {os.environ.get('XLA_FLAGS', '')}".strip()
os.environ["LONGREACH_XLA_FLAGS"] = os.environ["XLA_FLAGS"]  # XLA takes them; no process needs to ask
# What was compiled once is not compiled again, by a resumed run or by a process that a test starts. Each of pytest's
# processes has a cache of its own: JAX does not write an entry at one stroke, so another could read half of it.
TEMPORARY = os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # where `tmp_path` stays
CACHE = tempfile.TemporaryDirectory(prefix="longreach-tests-", dir=TEMPORARY)
os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# Temporary folders of libraries go with it: pytest's processes, and those that tests kill, tidy up nothing as they end.
tempfile.tempdir = os.environ["TMPDIR"] = CACHE.name

# A process that tests start finds the project compiled to bytecode: half a second of each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Programs are tested as a terminal starts them. What `nohup` or a script's `&` ignores, processes would inherit.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# Python looks for cycles after every 700 objects, of which tracing makes millions: a tenth of what tests cost.
gc.set_threshold(50_000, 10, 10)

TESTS = Path(__file__).parent
PROCESSES = (  # files and folders most of whose tests start a process, a browser or a cluster
    "benchmarks",
    "experiments/engine/test_engine.py",
    "experiments/engine/test_stopping.py",
    "experiments/engine/test_execute.py",
    "experiments/engine/test_slurm.py",
    "experiments/questions/test_names.py",
    "experiments/test_report.py",
    "models/test_shapes.py",
    "test_howto.py",
    "test_sweeps.py",
    "training/machine/test_mesh.py",
    "training/machine/test_signals.py",
    "training/run/test_claim.py",
    "training/run/test_tracking.py",
    "training/test_mirror.py",
    "training/test_reliability.py",
)
SLOW = (  # files and folders most of whose tests train
    "experiments/analysis/test_fairness.py",
    "experiments/engine/test_version.py",
    "experiments/probes",
    "experiments/questions",
    "experiments/test_sweep.py",
    "experiments/test_wandb_dashboard.py",
    "golden",
    "models/test_cudnn_lstm.py",
    "models/test_decoder.py",
    "models/test_decoding.py",
    "models/test_fused_attention.py",
    "models/test_mixers.py",
    "models/test_plain.py",
    "models/test_scan.py",
    "models/test_seq2seq.py",
    "models/test_tiled_attention.py",
    "models/test_transformer.py",
    "models/test_widened.py",
    "test_eval.py",
    "test_train.py",
    "training/evaluation/test_generate.py",
    "training/evaluation/test_mirrored.py",
    "training/evaluation/test_pictures.py",
    "training/run/test_checkpoint.py",
    "training/run/test_restore.py",
)
EVERYDAY = ("gru_attention", "transformer_decoder")  # two unlike architectures, whose contract is not marked slow


@pytest.fixture(scope="session", autouse=True)
def small_programs_are_kept_in_memory() -> None:
    """They are written for the processes that tests start, which draw parameters with sixty of them."""
    import jax

    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="session", autouse=True)
def one_context_lowers_every_program() -> None:
    """JAX makes a context of MLIR for each program, which loads its dialects for 6 to 10 ms; there are thousands."""
    from jax._src.interpreters import mlir

    context = mlir.make_ir_context()
    mlir.make_ir_context = lambda: context


def pytest_collection_finish() -> None:
    gc.freeze()  # modules and tests stay, and need no more looking at


def pytest_unconfigure() -> None:
    CACHE.cleanup()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(TESTS):
            continue
        path = item.path.relative_to(TESTS)
        names = {path.as_posix(), *(parent.as_posix() for parent in path.parents)}
        for mark, places in (("processes", PROCESSES), ("slow", SLOW)):
            if not names.isdisjoint(places):
                item.add_marker(mark)
        if "longreach_data" in getattr(item, "fixturenames", ()):  # tens of thousands of lines
            item.add_marker("slow")
    # Tests of one architecture share programs, and pytest's processes share out neighbours.
    contract = [at for at, item in enumerate(items) if item.path.name == "test_contract.py"]
    for at, item in zip(contract, sorted((items[at] for at in contract), key=_architecture), strict=True):
        items[at] = item
        if _parameters(item).get("name", EVERYDAY[0]) not in EVERYDAY:
            item.add_marker("slow")


def _architecture(item: pytest.Item) -> str:
    return _parameters(item).get("name", "")


def _parameters(item: pytest.Item) -> dict:
    return item.callspec.params if hasattr(item, "callspec") else {}


@pytest.fixture(scope="session")
def longreach_data() -> Path:
    """The folder of real text, with `multi30k` and `tinyshakespeare`; skips where there is none."""
    folder = os.environ.get("LONGREACH_DATA", "")
    if not folder:
        pytest.skip("needs real text: set LONGREACH_DATA to the folder that holds multi30k and tinyshakespeare")
    if not Path(folder).is_dir():
        pytest.fail(f"LONGREACH_DATA = {folder} is not a folder; unset it or give one")
    return Path(folder)
