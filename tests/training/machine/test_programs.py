"""Compiled programs: one per shape, whoever compiles it, and nothing after the end."""

import contextlib
import threading

import jax
import jax.numpy as jnp
import pytest

from training.machine import programs as machine
from training.machine.programs import Programs, abstract


def ahead(prepare, unneeded=lambda: False, say=lambda line: None):
    return machine.ahead(prepare, unneeded, say)


@pytest.fixture
def waits():
    return []


@pytest.fixture
def programs(waits):
    @contextlib.contextmanager
    def compiling():
        waits.append(threading.current_thread().name)
        yield

    return Programs(jax.jit(lambda first, arrays: {"sum": first + arrays["x"].sum()}), compiling)


def arrays(length):
    return {"x": jnp.ones(length)}


def test_a_shape_is_waited_for_once(programs, waits):
    one = jnp.ones(())
    assert [float(programs(one, arrays(n))["sum"]) for n in (3, 4, 3, 4)] == [4.0, 5.0, 4.0, 5.0]
    assert len(waits) == 2


def test_what_was_compiled_ahead_is_not_waited_for(programs, waits):
    one, done = jnp.ones(()), threading.Event()
    with ahead([lambda: programs.prepare(abstract(one), arrays(3)), done.set]):
        assert done.wait(60)
    assert float(programs(one, arrays(3))["sum"]) == 4.0
    assert not waits


def test_a_program_that_a_thread_has_begun_is_compiled_once(waits):
    begun, go, traced = threading.Event(), threading.Event(), []

    def function(first, arrays):
        traced.append(threading.current_thread().name)
        begun.set()
        assert go.wait(60)
        return first + arrays["x"].sum()

    programs = Programs(jax.jit(function))
    one = jnp.ones(())
    with ahead([lambda: programs.prepare(abstract(one), arrays(3))]):
        assert begun.wait(60)
        threading.Timer(0.05, go.set).start()
        assert float(programs(one, arrays(3))) == 4.0
    assert traced == ["compile"]


def test_the_body_s_end_ends_the_thread():
    called, first, go = [], threading.Event(), threading.Event()

    def slow():
        first.set()
        assert go.wait(60)
        called.append("slow")

    with ahead([slow, lambda: called.append("next")]):
        assert first.wait(60)
        threading.Timer(0.05, go.set).start()
    assert called == ["slow"] and "compile" not in {thread.name for thread in threading.enumerate()}


def test_the_end_says_once_that_it_waits_for_the_program_under_way(monkeypatch):
    monkeypatch.setattr(machine, "PATIENCE", 0.01)
    called, said, first, go = [], [], threading.Event(), threading.Event()

    def slow():
        first.set()
        assert go.wait(60)
        called.append("slow")

    def say(line):
        said.append(line)
        go.set()

    with ahead([slow, lambda: called.append("next")], say=say):
        assert first.wait(60)
    assert called == ["slow"] and said == ["waiting for a program that still compiles"]


def test_what_is_unneeded_is_not_begun_even_before_the_end():
    called, asked = [], threading.Event()
    with ahead([asked.set, lambda: called.append("next")], unneeded=asked.is_set):
        assert asked.wait(60)
        for thread in threading.enumerate():
            if thread.name == "compile":
                thread.join()
        assert called == []


def test_what_fails_ahead_is_told_to_whoever_needs_it():
    def function(first, arrays):
        raise ValueError("no such shape")

    programs = Programs(jax.jit(function))
    with ahead([lambda: programs.prepare(abstract(jnp.ones(())), arrays(3)).result()]):
        pass
    with pytest.raises(ValueError, match="no such shape"):
        programs(jnp.ones(()), arrays(3))


@pytest.mark.parametrize(("platform", "processes", "allowed"), [("cpu", 1, True), ("cpu", 2, False), ("gpu", 1, False)])
def test_nothing_is_compiled_ahead_on_a_gpu_or_beside_other_processes(monkeypatch, platform, processes, allowed):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    assert machine.can_be_ahead() == allowed
