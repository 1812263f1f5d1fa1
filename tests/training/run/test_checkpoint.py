"""Checkpoints come back as they were written, and a broken one never passes for whole."""

import errno
import gc
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from training.run.checkpoint import CheckpointError, Checkpoints, MisfitError, checksum

# A failed read leaves coroutines of Orbax behind that nobody waits for.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

META = {"target_tokens": 7, "seconds": {"training": 1.5}, "best": None}


def state(number):
    kernel = np.random.default_rng(number).normal(size=(64, 96)).astype(np.float32)
    params = {"encoder/kernel": jnp.asarray(kernel), "bias": jnp.arange(3.0)}
    gradients = jax.tree.map(lambda p: p + number, params)
    transform = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    _, moments = transform.update(gradients, transform.init(params), params)
    return {"params": params, "optimizer": moments, "step": jnp.asarray(number, jnp.int32)}


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate(folder):
    path = largest_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(folder):
    path = largest_file(folder)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def lose_meta(folder):
    (folder / "meta" / "metadata").unlink()


@pytest.fixture(autouse=True)
def collected():
    """What a test leaves to be collected is collected before the next."""
    yield
    gc.collect()


@pytest.fixture
def saved(tmp_path):
    """A folder with checkpoints 1, 2 and 3."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for number in (1, 2, 3):
        checkpoints.save(number, state(number), META | {"target_tokens": number})
    checkpoints.close()
    return tmp_path / "checkpoints"


def test_round_trip_of_a_state_with_its_optimizer(saved):
    found, meta = Checkpoints(saved, 3).restore(2, state(0))
    assert_equal(found, state(2))
    assert meta == META | {"target_tokens": 2}


def test_newest_is_restored(saved):
    step, found, meta = Checkpoints(saved, 3).restore_newest(state(0))
    assert (step, meta["target_tokens"]) == (3, 3)
    assert_equal(found, state(3))


@pytest.mark.parametrize("breaks", [truncate, flip_a_bit, lose_meta])
def test_broken_newest_is_set_aside_for_the_one_before(saved, breaks):
    breaks(saved / "3")
    checkpoints = Checkpoints(saved, 3)
    with pytest.warns(UserWarning, match=r"checkpoints/3: .*trying the one before"):
        step, found, _ = checkpoints.restore_newest(state(0))
    assert step == 2
    assert_equal(found, state(2))
    assert checkpoints.steps() == [1, 2] and (saved / "broken" / "3").is_dir()
    checkpoints.save(3, state(3), META)  # and its step can be saved again
    assert_equal(checkpoints.restore(3, state(0))[0], state(3))


@pytest.mark.parametrize("lacks", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_what_cannot_be_read_for_now_is_not_set_aside(saved, monkeypatch, lacks):
    def refuse(*_, **__):
        raise OSError(lacks, os.strerror(lacks))

    checkpoints = Checkpoints(saved, 3)
    with monkeypatch.context() as broken:
        broken.setattr(ocp.CheckpointManager, "restore", refuse)
        with pytest.raises(OSError, match=r"checkpoints/3: could not be read .*nothing was touched") as error:
            checkpoints.restore_newest(state(0))
    assert not isinstance(error.value, CheckpointError)
    assert checkpoints.steps() == [1, 2, 3] and checkpoints.restore_newest(state(0))[0] == 3


def test_nothing_whole_is_nothing(saved):
    for number in (1, 2, 3):
        truncate(saved / str(number))
    with pytest.warns(UserWarning) as caught:
        assert Checkpoints(saved, 3).restore_newest(state(0)) is None
    messages = [str(warning.message) for warning in caught]
    assert sum("set aside" in message for message in messages) == 3


def test_half_written_checkpoint_does_not_count(saved):
    (saved / "3").rename(saved / "3.orbax-checkpoint-tmp")
    assert Checkpoints(saved, 3).restore_newest(state(0))[0] == 2


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "some", keep=2)
    for number in (1, 2, 3, 4):
        checkpoints.save(number, state(number), META)
    assert checkpoints.steps() == [3, 4]
    assert sorted(p.name for p in (tmp_path / "some").iterdir() if p.name.isdigit()) == ["3", "4"]


def test_saving_a_step_again_changes_nothing(saved):
    checkpoints, before = Checkpoints(saved, 3), largest_file(saved / "3").stat().st_mtime_ns
    checkpoints.save(3, state(3), META)
    assert checkpoints.steps() == [1, 2, 3] and largest_file(saved / "3").stat().st_mtime_ns == before


def test_another_course_takes_the_place_of_what_is_newer(saved):
    """A run that resumed from before step 2, with a changed config, arrives there with other parameters."""
    checkpoints = Checkpoints(saved, 3)
    checkpoints.save(2, state(20), META)
    assert checkpoints.steps() == [1, 2]
    assert_equal(checkpoints.restore_newest(state(0))[1], state(20))


def test_reading_leaves_no_trace(saved, tmp_path):
    assert Checkpoints(tmp_path / "absent", keep=None).steps() == []
    assert not (tmp_path / "absent").exists()
    being_written = saved / "4.orbax-checkpoint-tmp"
    being_written.mkdir()
    reader = Checkpoints(saved, keep=None)
    assert_equal(reader.restore(reader.steps()[-1], state(0))[0], state(3))
    assert being_written.is_dir()  # the run may be in the middle of it
    Checkpoints(saved, keep=3).restore_newest(state(0))
    assert not being_written.exists()  # whereas the run itself clears up after a kill


def test_other_shapes_are_refused(saved):
    wide = state(0)
    wide["params"]["bias"] = jnp.zeros(5)
    with pytest.raises(
        MisfitError, match=r"checkpoints/3 does not fit: params/bias is float32\[3\] there and float32\[5\]"
    ):
        Checkpoints(saved, 3).restore_newest(wide)
    with pytest.raises(MisfitError, match="params/bias"):
        Checkpoints(saved, 3).check_fits(wide)
    assert Checkpoints(saved, 3).steps() == [1, 2, 3] and not (saved / "broken").exists()


def test_more_and_fewer_arrays_are_refused(saved):
    fewer, more = state(0), state(0)
    del fewer["params"]["bias"]
    more["average"] = jnp.zeros(2)
    for template, said in (
        (fewer, "params/bias is float32.* there and missing here"),
        (more, "average is missing there"),
    ):
        with pytest.raises(MisfitError, match=said):
            Checkpoints(saved, 3).restore_newest(template)


def test_damage_is_damage_whatever_else_is_wrong(saved):
    """A template that does not fit makes no broken checkpoint whole, nor the other way round."""
    flip_a_bit(saved / "3")
    wide = state(0) | {"average": jnp.zeros(2)}
    with pytest.raises(MisfitError):
        Checkpoints(saved, 3).restore_newest(wide)
    assert (saved / "3").is_dir()


def test_earlier_versions_are_read_and_left_alone(saved):
    """They do not say which arrays they hold, so that damage is not told from other code."""
    path = saved / "3" / "meta" / "metadata"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({"checksum": meta["arrays_checksum"], **META}))
    step, found, kept = Checkpoints(saved, 3).restore_newest(state(0))
    assert step == 3 and kept == META
    assert_equal(found, state(3))
    with pytest.raises(MisfitError, match="checkpoints/3: unreadable .*, or of other code"):
        Checkpoints(saved, 3).restore_newest(state(0) | {"average": jnp.zeros(2)})
    assert (saved / "3").is_dir()


@pytest.mark.parametrize("name", ["lr[0.1]", "a[", "b]", "c\\d", "gs:", "xgs:", os.fsdecode(b"\xff")])
def test_paths_that_cannot_be_read_back_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be read back; give a folder without"):
        Checkpoints(tmp_path / name / "checkpoints", keep=1)


@pytest.mark.parametrize("name", ["a b", "ü*?", "$x;'\"", "{a}:%20#&"])
def test_other_odd_paths_are_read_back(tmp_path, name):
    checkpoints = Checkpoints(tmp_path / name, keep=1)
    checkpoints.save(1, state(1), META)
    assert_equal(Checkpoints(tmp_path / name, keep=None).restore(1, state(0))[0], state(1))
    checkpoints.close()


def test_the_first_save_is_read_back(tmp_path, monkeypatch):
    """Whatever comes between writing and reading is met at the first save, and not at the end of a run."""
    save = ocp.CheckpointManager.save

    def careless(self, step, **words):
        save(self, step, **words)
        truncate(tmp_path / "some" / str(step))

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", careless)
    checkpoints = Checkpoints(tmp_path / "some", keep=2)
    with pytest.raises(CheckpointError, match="some/1: unreadable"):
        checkpoints.save(1, state(1), META)
    checkpoints.close()


@pytest.mark.parametrize("bit", range(0, 8 * 240, 181))
def test_no_flipped_bit_beside_the_arrays_passes(saved, bit):
    """Best losses and totals are under a checksum as well."""
    path = saved / "3" / "meta" / "metadata"
    raw = bytearray(path.read_bytes())
    raw[bit // 8 % len(raw)] ^= 1 << bit % 8
    path.write_bytes(raw)
    with pytest.warns(UserWarning, match=r"checkpoints/3: .*trying the one before"):
        assert Checkpoints(saved, 3).restore_newest(state(0))[0] == 2


def test_checksum_sees_every_leaf():
    assert checksum(state(1)) == checksum(state(1))
    changed = state(1)
    changed["params"]["bias"] = changed["params"]["bias"].at[2].add(1e-7)
    assert checksum(changed) == checksum(state(1))  # float32 cannot tell 2 + 1e-7 from 2
    changed["params"]["bias"] = changed["params"]["bias"].at[2].add(1e-6)
    assert checksum(changed) != checksum(state(1))


def test_unwritable_folder_is_an_error_that_names_the_path(saved, monkeypatch):
    checkpoints = Checkpoints(saved, 3)
    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(CheckpointError, match=r"checkpoints/4: .*could not be written.*earlier ones are kept"):
        checkpoints.save(4, state(4), META)
    assert checkpoints.steps() == [1, 2, 3]


def test_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, state(1), META)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(CheckpointError, match=rf"{tmp_path}/2: .* bytes needed, 1,000 free"):
        checkpoints.save(2, state(2), META)
    assert checkpoints.steps() == [1]
    checkpoints.close()
