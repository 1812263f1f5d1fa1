"""One mesh over all devices of all processes: batches are sharded over `data`, parameters replicated.

Every process makes the whole batch (a pure function of seed and number) and places the rows of its own devices. So one
device, eight, or two processes have the same examples in the same rows.
"""

import functools
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from data.batch import Batch, pad_rows
from training.machine import peers

Model = TypeVar("Model", bound=nnx.Module)

SILENT = 30.0  # seconds for which nothing is said while the processes find each other


def start_processes(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins `jax.distributed` where flags or the environment ask for it.

    Without flags: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or a launcher that JAX knows by
    itself (Slurm, Open MPI) with more than one task. Of Slurm that is a step, which `srun` makes: a batch script names
    the tasks of its job and is one process.
    """
    launched = any(
        task in os.environ and _whole(tasks, 1) > 1
        for tasks, task in (("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"))
    )
    given = "--coordinator" if coordinator is not None else "JAX_COORDINATOR_ADDRESS"
    coordinator = coordinator if coordinator is not None else os.environ.get(given) or None
    if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise ValueError(f"{given} = {coordinator!r} is no HOST:PORT; give the address of process 0")
    if num_processes is None and "JAX_NUM_PROCESSES" in os.environ and "JAX_PROCESS_ID" in os.environ:
        num_processes, process_id = _whole("JAX_NUM_PROCESSES"), _whole("JAX_PROCESS_ID")
    if num_processes is not None and process_id is not None and not coordinator:
        raise ValueError(f"--num_processes = {num_processes} needs --coordinator=HOST:PORT, the address of process 0")
    if coordinator and not launched and (num_processes is None or process_id is None):
        raise ValueError(f"--coordinator = {coordinator} needs --num_processes and --process_id; give all three")
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise ValueError(f"--process_id = {process_id} is not in [0, {num_processes}); count from 0")
    if coordinator or launched:
        peers.tell_in_one_line(process_id if process_id is not None else _whole("SLURM_PROCID", 0))
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        said = f"waiting for all processes of this run at {coordinator or 'the address that the launcher gives'}"
        waiting = threading.Timer(SILENT, print, [said], {"file": sys.stderr, "flush": True})
        waiting.daemon = True
        waiting.start()
        try:
            jax.distributed.initialize(coordinator, num_processes, process_id)
        except ValueError as error:  # of a variable that JAX reads itself
            raise ValueError(f"jax.distributed: {error}; mend the environment") from None
        finally:
            waiting.cancel()


def lost_peer(error: BaseException) -> bool:
    """Whether a collective failed because another process of the run is gone."""
    return jax.process_count() > 1 and any(name in str(error) for name in ("Gloo", "NCCL", "coordination service"))


def _whole(name: str, default: int = 0) -> int:
    """A variable of the environment. Raises ValueError where it is no number."""
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise ValueError(f"{name} = {value!r} is not a whole number; set it to one, or give the flags")
    return int(value)


def make() -> Mesh:
    """A one-dimensional mesh over every device of every process."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def within(mesh: Mesh, function: Callable) -> Callable:
    """`function`, traced with the mesh in context, where models ask how the batch is sharded (`models/matmul.py`)."""

    @functools.wraps(function)
    def traced(*arguments):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*arguments)

    return traced


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh) -> NamedSharding:
    """Each device holds its share of the leading axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def read_by_step(batch: Batch) -> dict[str, np.ndarray]:
    """The part of a batch that the step reads; the rest stays on the host, for measuring."""
    return {
        "source": batch["source"],
        "source_mask": batch["source_mask"],
        "target_in": batch["target_in"],
        "target_out": batch["target_out"],
        "target_weights": batch["target_weights"],
    }


def place(batch: Batch, mesh: Mesh, micro_batches: int = 1) -> Mapping[str, jax.Array | np.ndarray]:
    """The batch's arrays on the devices, rows filled up to a multiple of devices and micro-batches.

    Those of a single CPU device stay as they are: a compiled program takes them from the host in a third of the time.
    """
    arrays = read_by_step(pad_rows(batch, mesh.size * micro_batches))
    return arrays if jax.device_count() == 1 and jax.default_backend() == "cpu" else put(arrays, by_rows(mesh))


def of_this_process(model: Model) -> Model:
    """The model with arrays of this process alone, for work that the processes do not do in step."""
    if jax.process_count() == 1:
        return model
    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(lambda array: array.addressable_data(0), state))


def put(arrays: Any, sharding: NamedSharding) -> Any:
    """A tree of host arrays, the same in every process -> global arrays, in one call for all."""
    if jax.process_count() == 1:
        return jax.device_put(arrays, sharding)
    return jax.tree.map(
        lambda array: jax.make_array_from_callback(array.shape, sharding, lambda index: array[index]), arrays
    )
