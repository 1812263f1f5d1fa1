"""What tests of models compile, no process of theirs asks for, so none of it is written."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(scope="package", autouse=True)
def programs_are_kept_in_memory() -> Iterator[None]:
    seconds = jax.config.read("jax_persistent_cache_min_compile_time_secs")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float("inf"))
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
