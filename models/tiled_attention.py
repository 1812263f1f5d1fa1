"""Softmax attention tile by tile: of the scores only one tile exists at once (Dao et al. 2022; Rabe & Staats 2021).

The scores of T queries and S keys are cut into tiles of SIDE x SIDE. For each block of queries a loop walks over the
blocks of keys that it sees, keeps each query's running maximum and sum (the online softmax), and adds up the context.
For the gradients a loop for each block of keys computes the tiles anew. So memory is linear in the sequence, time is in
proportion to what is visible, since a loop's bounds are data (a window would be another lower bound), and the program
is as large for 20,000 tokens as for 200.

On a CPU a tile must stay in the cache, so rows of the batch go by in groups of few heads. Keys and values lie in
blocks, also transposed, so that no product turns a tile round in memory.

Dims: B batch, T queries, S keys, H heads, K head width (of values V), N blocks, t and s the queries and
keys of one tile.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from models.countable import is_countable
from models.shapes import Array, Bool, Float, Int

SIDE = 128  # queries and keys of a tile; sequences up to here are one tile, and are left to the plain form
HEADS = 8  # of a group of rows: 512 KiB a tile in float32, of which a core's cache holds a few
UNSEEN = -1e30  # is added to the score of what is not visible
LEAST = UNSEEN / 2  # the running maximum of a query that has seen nothing

Bias = Callable[[Array, Array], Array | None]
"""(query_position_Bt, key_position_Bs) -> what is added to the scores (B, H, t, s), or None."""

Kept = tuple[Array, Array, Array, Array | None, Array | None, Array, Array]
"""For the gradient: query, key, value, hidden, position, context and the scores' logarithmic totals."""


class Tiles(NamedTuple):
    """What the queries see of the keys of one sequence."""

    mask_BS: Bool[Array, "#B S"] | None  # which keys are real; None: all of them, which saves a pass over each tile
    position_BS: Int[Array, "#B S"] | None = None  # of queries and keys alike, for the bias
    causal: bool = False
    bias: Bias | None = None  # of no parameters, since none would get gradients (`NoPositions.trains_bias`)


def worthwhile(T: int) -> bool:
    """Whether a sequence of T tokens is computed in tiles: on a CPU, from the second tile on."""
    return T > SIDE and jax.default_backend() == "cpu" and not is_countable()


def attend_tiled(
    query_BHTK: Float[Array, "B H T K"],
    key_BHSK: Float[Array, "B H S K"],
    value_BHSV: Float[Array, "B H S V"],
    tiles: Tiles,
) -> Float[Array, "B H T V"]:
    """softmax(Q K^T / sqrt(K) + bias) V, softmax in float32; zeros where a query sees no key."""
    B, _, T, _ = query_BHTK.shape
    S = key_BHSK.shape[2]
    query, key, value = (_padded(x, axis=2) for x in (query_BHTK, key_BHSK, value_BHSV))
    position = hidden = None
    if tiles.position_BS is not None:
        position = _padded(jnp.broadcast_to(tiles.position_BS, (B, S)))
    if tiles.mask_BS is not None or (S % SIDE and not tiles.causal):  # no real query sees what comes after it
        real_BS = jnp.ones((1, S), bool) if tiles.mask_BS is None else tiles.mask_BS
        hidden = jnp.where(_padded(jnp.broadcast_to(real_BS, (B, S))), 0, np.float32(UNSEEN))
    attend = partial(_attend, tiles.causal, tiles.bias)
    mesh = jax.sharding.get_abstract_mesh()
    if not mesh.empty and set(mesh.axis_types) == {AxisType.Auto} and B % mesh.size == 0:
        rows = PartitionSpec(mesh.axis_names)  # each device keeps to its own rows, which groups would mix
        attend = jax.shard_map(attend, in_specs=(rows,) * 5, out_specs=rows, check_vma=False)
    return attend(query, key, value, hidden, position)[:, :, :T]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(
    causal: bool,
    bias: Bias | None,
    query: Array,
    key: Array,
    value: Array,
    hidden: Array | None,
    position: Array | None,
):
    return _forward(causal, bias, query, key, value, hidden, position)[0]


def _forward(
    causal: bool,
    bias: Bias | None,
    query: Array,
    key: Array,
    value: Array,
    hidden: Array | None,
    position: Array | None,
) -> tuple[Array, Kept]:
    context, log_total = by_groups(partial(_context, causal, bias), query, key, value, hidden, position)
    return context, (query, key, value, hidden, position, context, log_total)


def _backward(causal: bool, bias: Bias | None, kept: Kept, gradient: Array) -> tuple[Array, Array, Array, None, None]:
    of_query, of_key, of_value = by_groups(partial(_gradients, causal, bias), *kept, gradient)
    return of_query, of_key, of_value, None, None


_attend.defvjp(_forward, _backward)


def by_groups(function: Callable[..., tuple[Array, ...]], query: Array, *others: Array | None) -> tuple[Array, ...]:
    """A function of rows of the batch, for as many of them at once as have HEADS heads together."""
    B, H = query.shape[:2]
    arrays = (query, *others)
    size = max(n for n in range(1, B + 1) if B % n == 0 and (n == 1 or n * H <= HEADS))
    if size == B:
        return function(*arrays)
    if size == 1:  # without an axis of one row, for which XLA would copy every array into another layout
        return jax.lax.map(lambda x: tuple(y[0] for y in function(*jax.tree.map(lambda z: z[None], x))), arrays)
    grouped = jax.tree.map(lambda x: x.reshape(B // size, size, *x.shape[1:]), arrays)
    return tuple(x.reshape(B, *x.shape[2:]) for x in jax.lax.map(lambda group: function(*group), grouped))


def _context(
    causal: bool,
    bias: Bias | None,
    query: Array,
    key: Array,
    value: Array,
    hidden: Array | None,
    position: Array | None,
) -> tuple[Array, Array]:
    """The context, and the logarithm of each query's sum of exponentials."""
    queries, keys, values = _blocks(query * query.shape[3] ** -0.5), _blocks(key).mT, _blocks(value)
    shown = partial(_shown, bias, _blocks_if_any(hidden), _blocks_if_any(position))

    def of_queries(at: tuple[Array, Array]):
        i, query_BHtK = at

        def tile(j: int | Array, diagonal: bool = False):
            scores_BHts = shown(_product(query_BHtK, keys[j]), i, j, diagonal)
            largest = jnp.maximum(scores_BHts.max(-1, keepdims=True), LEAST)
            weights_BHts = jnp.exp(scores_BHts - largest)
            context = _product(weights_BHts.astype(value.dtype), values[j])
            return context, largest, weights_BHts.sum(-1, keepdims=True)

        def add(j: Array, carry: tuple[Array, ...]):
            (context, largest, total), (more, other, weight) = carry, tile(j)
            now = jnp.maximum(largest, other)
            kept, taken = jnp.exp(largest - now), jnp.exp(other - now)
            return context * kept + more * taken, now, total * kept + weight * taken

        first, start, end = (tile(i, diagonal=True), 0, i) if causal else (tile(0), 1, len(keys))
        context, largest, total = jax.lax.fori_loop(start, end, add, first)
        total = jnp.where(total > 0, total, 1)
        return (context / total).astype(query.dtype), largest + jnp.log(total)

    context, log_total = jax.lax.map(of_queries, (jnp.arange(len(queries)), queries))
    return _joined(context), _joined(log_total)


def _gradients(causal: bool, bias: Bias | None, *kept_and_gradient: Any) -> tuple[Array, Array, Array]:
    """Tiles computed anew: with weights P and D = sum(dO O), dS = P (dO V^T - D) (Dao et al. 2022, appendix B.2)."""
    query, key, value, hidden, position, context, log_total, gradient = kept_and_gradient
    scale, dtype, wide = query.shape[3] ** -0.5, query.dtype, jnp.promote_types(query.dtype, jnp.float32)
    queries, gradients, keys, values = (_blocks(x) for x in (query * scale, gradient, key, value))
    log_totals = _blocks(log_total)
    products = _blocks((gradient.astype(wide) * context).sum(-1, keepdims=True))
    shown = partial(_shown, bias, _blocks_if_any(hidden), _blocks_if_any(position))

    def of_keys(of_queries: Array, at: tuple[Array, ...]):
        j, key_BHsK, key_BHKs, value_BHKs = at

        def tile(i: int | Array, of_queries: Array, diagonal: bool = False):
            scores_BHts = shown(_product(queries[i], key_BHKs), i, j, diagonal)
            weights_BHts = jnp.exp(scores_BHts - log_totals[i])
            of_scores = (weights_BHts * (_product(gradients[i], value_BHKs) - products[i])).astype(dtype)
            of_query = of_queries[i] + _product(of_scores, key_BHsK)
            of_queries = jax.lax.dynamic_update_index_in_dim(of_queries, of_query, i, 0)
            return of_queries, _turned(queries[i], of_scores), _turned(gradients[i], weights_BHts.astype(dtype))

        def add(i: Array, carry: tuple[Array, ...]):
            of_queries, of_key, of_value = carry
            of_queries, more_of_key, more_of_value = tile(i, of_queries)
            return of_queries, of_key + more_of_key, of_value + more_of_value

        first, start = (tile(j, of_queries, diagonal=True), j + 1) if causal else (tile(0, of_queries), 1)
        of_queries, *of_both = jax.lax.fori_loop(start, len(queries), add, first)
        return of_queries, [x.mT.astype(dtype) for x in of_both]

    blocks = (jnp.arange(len(keys)), keys, keys.mT, values.mT)
    of_queries, of_both = jax.lax.scan(of_keys, jnp.zeros(queries.shape, wide), blocks)
    of_key, of_value = (_joined(x) for x in of_both)
    return _joined(of_queries * scale).astype(dtype), of_key, of_value


def _shown(
    bias: Bias | None,
    hidden: Array | None,
    position: Array | None,
    scores_BHts: Array,
    i: int | Array,
    j: int | Array,
    diagonal: bool,
) -> Array:
    """The scores of tile (i, j) with their bias, and next to UNSEEN where a query does not see a key."""
    if bias is not None and position is not None and (biased := bias(position[i], position[j])) is not None:
        scores_BHts += biased
    if hidden is not None:
        scores_BHts += hidden[j][:, None, None, :]
    if diagonal:
        scores_BHts += np.where(np.tri(SIDE, dtype=bool), 0, np.float32(UNSEEN))
    return scores_BHts


def _padded(x: Array, axis: int = 1) -> Array:
    """To whole blocks."""
    return jnp.pad(x, [(0, -x.shape[n] % SIDE if n == axis else 0) for n in range(x.ndim)])


def _blocks(x: Array) -> Array:
    """(B, H, T, K) -> (N, B, H, SIDE, K), or (B, T) -> (N, B, SIDE)."""
    axis = 2 if x.ndim == 4 else 1
    return jnp.moveaxis(x.reshape(*x.shape[:axis], -1, SIDE, *x.shape[axis + 1 :]), axis, 0)


def _blocks_if_any(x: Array | None) -> Array | None:
    return None if x is None else _blocks(x)


def _joined(x: Array) -> Array:
    """(N, B, H, SIDE, K) -> (B, H, T, K)"""
    N, B, H, _, K = x.shape
    return jnp.moveaxis(x, 0, 2).reshape(B, H, N * SIDE, K)


def _product(a: Array, b: Array) -> Array:
    """A product of tiles, summed in float32 or wider."""
    return jnp.matmul(a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))


def _turned(a_BHtK: Array, b_BHts: Array) -> Array:
    """a^T b, for which a small array is turned round instead of a tile."""
    wide = jnp.promote_types(a_BHtK.dtype, jnp.float32)
    return jnp.einsum("BHtK,BHts->BHKs", a_BHtK, b_BHts, preferred_element_type=wide)
