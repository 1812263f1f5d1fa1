"""What tests of models compile, no process of theirs asks for, so none of it is written."""

from collections.abc import Iterator

import jax
import pytest

SECONDS = "jax_persistent_cache_min_compile_time_secs"  # a program that compiles as long is written


@pytest.fixture(scope="package", autouse=True)
def programs_are_kept_in_memory() -> Iterator[None]:
    before = getattr(jax.config, SECONDS)
    jax.config.update(SECONDS, float("inf"))
    yield
    jax.config.update(SECONDS, before)
