"""Greedy, beam and sampled decoding, once for every architecture, over `start` and `step`.

Dims: B batch, S source length, P prefix length, N decoded length, K beams, J candidates, V vocabulary.

All are `lax.while_loop`s to be called under `jit`; `decoder` makes a jitted function of one. Tokens come
without BOS, each row ending with its EOS and then padding. What all of them are asked for is a `Wanted`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from models import choices
from models.contract import Architecture
from models.shapes import Array, Bool, Float, Int, Key, Num

Choose = Callable[[Array, Array], Array]  # (step, logits (B, V)) -> the tokens (B)


class Wanted(NamedTuple):
    """What is to be decoded, in any way."""

    bos: int
    eos: int | None  # None: `max_len` tokens of every row
    pad: int
    max_len: int
    # Of most rows: the state has room for so many tokens at first, since a cache costs what it could hold, and is
    # enlarged to `max_len` when a row goes on.
    expected_len: int | None = None
    limit: Int[Array, "B"] | None = None  # a length for each row, at most `max_len`
    # A known beginning, which starts as target_in does, with BOS. It is not repeated in the result and does not count
    # as length.
    prefix: Int[Array, "B P"] | None = None
    prefix_mask: Bool[Array, "B P"] | None = None


class Decoded(NamedTuple):
    tokens: Int[Array, "B N"]
    scores: Float[Array, "B"]  # log-probability; from a beam, divided by the length penalty


def greedy(
    model: Architecture,
    source: Num[Array, "B S"] | Float[Array, "B S W"],
    source_mask: Bool[Array, "B S"],
    wanted: Wanted,
) -> Decoded:
    """The most probable token at each position, the lowest id among equals."""
    begun = _begin(model, source, source_mask, wanted)
    return _one_by_one(model, begun, wanted, lambda t, logits_BV: jnp.argmax(logits_BV, axis=-1))


def sample(
    model: Architecture,
    source: Num[Array, "B S"] | Float[Array, "B S W"],
    source_mask: Bool[Array, "B S"],
    wanted: Wanted,
    *,
    key: Key[Array, "B"],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Decoded:
    """Draws each token as `sample_tokens` does, each row with a key of its own: what a row gets does not depend on the
    others. Scores are under the model itself, at temperature 1."""
    begun = _begin(model, source, source_mask, wanted)

    def choose(t: Array, logits_BV: Array):
        return sample_tokens(jax.vmap(jax.random.fold_in, (0, None))(key, t), logits_BV, temperature, top_k, top_p)

    return _one_by_one(model, begun, wanted, choose)


def sample_tokens(
    key: Key[Array, "B"], logits_BV: Float[Array, "B V"], temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> Int[Array, "B"]:
    """Draws from softmax(logits / temperature), cut to the most probable and made to sum to 1 again.

    `top_k` keeps that many tokens (0: all; Fan et al. 2018), then `top_p` the fewest of them that hold
    this share of what is left (Holtzman et al. 2020). Temperature 0 takes the maximum. Raises ValueError
    for values out of range.
    """
    if temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f"temperature = {temperature}, top_k = {top_k}, top_p = {top_p}: use temperature and top_k of 0 or "
            "more, and top_p above 0 and at most 1"
        )
    if temperature == 0:
        return jnp.argmax(logits_BV, axis=-1)
    logits_BV, draw = logits_BV / temperature, jax.vmap(jax.random.categorical)
    if top_k == 0 and top_p == 1:
        return draw(key, logits_BV)
    vocab_size = logits_BV.shape[-1]
    ranked_BJ, token_BJ = jax.lax.top_k(logits_BV, min(top_k or vocab_size, vocab_size))
    probability_BJ = jax.nn.softmax(ranked_BJ)
    before_BJ = jnp.cumsum(probability_BJ, axis=-1) - probability_BJ
    # The first always stays; rounding may leave the last sums just below 1, which top_p = 1 must not cut.
    kept_BJ = (before_BJ < top_p) | (top_p == 1)
    rank_B = draw(key, jnp.where(kept_BJ, ranked_BJ, -jnp.inf))
    return jnp.take_along_axis(token_BJ, rank_B[:, None], axis=-1)[:, 0]


def beam_search(
    model: Architecture,
    source: Num[Array, "B S"] | Float[Array, "B S W"],
    source_mask: Bool[Array, "B S"],
    wanted: Wanted,
    *,
    beam_size: int = 5,
    length_penalty: float = 0.6,
    num_best: int = 1,
) -> Decoded:
    """The `num_best` best of the finished hypotheses by log P(Y) / ((5 + |Y|) / 6)^length_penalty.

    The penalty is that of Wu et al. (2016, equation 14), |Y| counting EOS. A hypothesis finishes when its
    EOS is among the `beam_size` best continuations of all beams, and then leaves the beams. A row is
    done when `beam_size` hypotheses have finished, when no live beam can be among the `num_best` of them, or at
    its limit, where live beams follow if fewer have finished. Beam 1 is greedy decoding. The hypotheses of a
    row are rows of the result that follow each other, the best first.
    Raises ValueError for a beam size below 1 or `num_best`, or a negative length penalty.
    """
    if beam_size < 1 or length_penalty < 0 or not 1 <= num_best <= beam_size:
        raise ValueError(
            f"beam_size = {beam_size}, length_penalty = {length_penalty}, num_best = {num_best}: use a beam of 1 or "
            "more, a penalty of 0 or more, and at most as many of the best as the beam has"
        )
    begun = _begin(model, source, source_mask, wanted)
    eos, pad, max_len = wanted.eos, wanted.pad, wanted.max_len
    # Memory has no beam axis: all beams of a row read the same copy. In the state beams lead, as they do in
    # the products of `step`; with rows before them XLA turns every cache round in memory at each step.
    step_beams = jax.vmap(model.step, in_axes=(0, None, None, 0))
    B, K, R = begun.token.shape[0], beam_size, num_best

    def penalty(length: int | Array):
        return ((5.0 + length) / 6.0) ** length_penalty

    class Loop(NamedTuple):
        t: Array
        done_B: Array
        state: Any  # leaves (K, B, ...)
        token_BK: Array
        score_BK: Array  # log-probability of the live beams
        tokens_BKN: Array
        num_finished_B: Array
        best_BR: Array  # penalised scores of the best finished hypotheses
        best_tokens_BRN: Array

    def running(loop: Loop):
        return ~loop.done_B.all()

    def advance(loop: Loop) -> Loop:
        logits_KBV, state = step_beams(loop.token_BK.T, loop.t, begun.memory, loop.state)
        score_BJ, parent_BJ, token_BJ = _candidates(logits_KBV, loop.score_BK)
        is_eos_BJ = jnp.zeros_like(token_BJ, bool) if eos is None else token_BJ == eos
        length = loop.t + 1

        # EOS further down than place K would let beam 1 finish where greedy goes on.
        finishes_BJ = is_eos_BJ & (jnp.arange(token_BJ.shape[1]) < K) & (score_BJ > -jnp.inf)
        finished_BJ = jnp.where(finishes_BJ, score_BJ / penalty(length), -jnp.inf)
        finished_BJ = jnp.where(loop.done_B[:, None], -jnp.inf, finished_BJ)
        best_BR, place_BR = jax.lax.top_k(jnp.concatenate([loop.best_BR, finished_BJ], axis=1), R)  # the old at a tie
        before_BX = jnp.concatenate([jnp.broadcast_to(jnp.arange(R), (B, R)), R + parent_BJ], axis=1)
        before_BR = jnp.take_along_axis(before_BX, place_BR, axis=1)
        tokens_BXN = jnp.concatenate([loop.best_tokens_BRN, loop.tokens_BKN], axis=1)
        best_tokens_BRN = jnp.take_along_axis(tokens_BXN, before_BR[:, :, None], axis=1)
        last_BR = jnp.where(place_BR < R, best_tokens_BRN[:, :, loop.t], pad if eos is None else eos)
        best_tokens_BRN = best_tokens_BRN.at[:, :, loop.t].set(last_BR)
        num_finished_B = loop.num_finished_B + finishes_BJ.sum(1, dtype=jnp.int32)

        live_BK, place_BK = jax.lax.top_k(jnp.where(is_eos_BJ, -jnp.inf, score_BJ), K)
        parent_BK, token_BK = (jnp.take_along_axis(x_BJ, place_BK, axis=1) for x_BJ in (parent_BJ, token_BJ))
        tokens_BKN = jnp.take_along_axis(loop.tokens_BKN, parent_BK[:, :, None], axis=1)
        tokens_BKN = tokens_BKN.at[:, :, loop.t].set(token_BK)
        hopeless_B = best_BR[:, -1] >= live_BK[:, 0] / penalty(begun.limit)  # the longest length forgives the most
        return Loop(
            t=length,
            done_B=loop.done_B | (num_finished_B >= K) | hopeless_B | (length >= begun.limit),
            state=jax.tree.map(lambda x: x if K == 1 else x[parent_BK.T, jnp.arange(B)], state),
            token_BK=token_BK,
            score_BK=jnp.where(loop.done_B[:, None], loop.score_BK, live_BK),
            tokens_BKN=jnp.where(loop.done_B[:, None, None], loop.tokens_BKN, tokens_BKN),
            num_finished_B=num_finished_B,
            best_BR=best_BR,
            best_tokens_BRN=best_tokens_BRN,
        )

    loop = _run(
        begun,
        running,
        advance,
        Loop(
            t=jnp.zeros((), jnp.int32),
            done_B=begun.limit <= 0,
            state=jax.tree.map(lambda x: jnp.broadcast_to(x, (K, *x.shape)), begun.state),
            token_BK=jnp.broadcast_to(begun.token[:, None], (B, K)),
            # All beams start alike, so only the first may have children.
            score_BK=jnp.broadcast_to(jnp.where(jnp.arange(K) == 0, 0.0, -jnp.inf), (B, K)),
            tokens_BKN=jnp.full((B, K, max_len), pad, jnp.int32),
            num_finished_B=jnp.zeros(B, jnp.int32),
            best_BR=jnp.full((B, R), -jnp.inf),
            best_tokens_BRN=jnp.full((B, R, max_len), pad, jnp.int32),
        ),
    )
    live_BR = loop.best_BR == -jnp.inf
    beam_BR = jnp.maximum(jnp.cumsum(live_BR, axis=1) - 1, 0)
    live_tokens_BRN = jnp.take_along_axis(loop.tokens_BKN, beam_BR[:, :, None], axis=1)
    live_score_BR = jnp.take_along_axis(loop.score_BK, beam_BR, axis=1) / penalty(begun.limit)[:, None]
    tokens_BRN = jnp.where(live_BR[:, :, None], live_tokens_BRN, loop.best_tokens_BRN)
    score_BR = jnp.where(live_BR, live_score_BR, loop.best_BR)
    return Decoded(tokens_BRN.reshape(B * R, max_len), score_BR.reshape(B * R))


METHODS: dict[str, Callable[..., Decoded]] = {"greedy": greedy, "beam": beam_search, "sample": sample}


def decoder(
    method: str,
    mesh: Mesh | None = None,
    check: Callable[[jax.stages.Compiled], None] = lambda program: None,
    *,
    bos: int,
    eos: int | None,
    pad: int,
    **options: float,
) -> Callable[..., Decoded]:
    """Compiles one method: `decode = decoder("beam", bos=1, eos=2, pad=0, beam_size=5)`.

    `decode(model, source, source_mask, max_len=60, limit=..., prefix=..., key=...)` compiles once for
    each set of shapes, `max_len` and `expected_len`, and asks `check`, which may raise, before a program runs. With
    a `mesh` of one axis each of its devices decodes its share of the rows, whose number it divides, without waiting for
    the others. Raises ValueError for an unknown method.
    """
    choices.check("method", method, METHODS)

    @functools.partial(jax.jit, static_argnames=("graphdef", "lengths"))
    def run(
        graphdef: nnx.GraphDef,
        params: nnx.State,
        source: Array,
        source_mask: Array,
        lengths: tuple[int, int | None],
        arrays: dict[str, Array],
    ):
        def decode_rows(params: nnx.State, source: Array, source_mask: Array, arrays: dict[str, Array]):
            drawn = {"key": arrays["key"]} if "key" in arrays else {}
            rows = (arrays.get(name) for name in ("limit", "prefix", "prefix_mask"))
            wanted = Wanted(bos, eos, pad, *lengths, *rows)
            return METHODS[method](nnx.merge(graphdef, params), source, source_mask, wanted, **options, **drawn)

        if mesh is None:
            return decode_rows(params, source, source_mask, arrays)
        rows = PartitionSpec(mesh.axis_names[0])
        # What a loop carries begins alike on all devices and then is not; checking would refuse that.
        shared = jax.shard_map(
            decode_rows, mesh=mesh, in_specs=(PartitionSpec(), rows, rows, rows), out_specs=rows, check_vma=False
        )
        return shared(params, source, source_mask, arrays)

    def decode(
        model: Architecture,
        source: Array,
        source_mask: Array,
        *,
        max_len: int,
        expected_len: int | None = None,
        limit: Array | None = None,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
        key: Array | None = None,
    ) -> Decoded:
        given = {"limit": limit, "prefix": prefix, "prefix_mask": prefix_mask, "key": key}
        arrays = {name: x for name, x in given.items() if x is not None}
        (graphdef, params), lengths = nnx.split(model), (max_len, expected_len)
        leaves, tree = jax.tree.flatten((params, source, source_mask, arrays))
        kind = (graphdef, lengths, tree, *((x.shape, x.dtype, getattr(x, "sharding", None)) for x in leaves))
        if kind not in programs:
            program = run.lower(graphdef, params, source, source_mask, lengths, arrays).compile()
            check(program)
            programs[kind] = program
        return programs[kind](params, source, source_mask, arrays)

    programs: dict[tuple, jax.stages.Compiled] = {}
    return decode


class _Begun(NamedTuple):
    memory: Any
    state: Any
    token: Int[Array, "B"]  # the first to feed
    limit: Int[Array, "B"]
    rooms: list[tuple[int, Any]]  # numbers of steps to make room for, one after the other, and the state's shapes


def _begin(
    model: Architecture,
    source: Array,
    source_mask: Array,
    wanted: Wanted,
) -> _Begun:
    """`start`, holding back each row's last prefix token: it is the first that `step` is fed."""
    B, bos, max_len, expected_len = source_mask.shape[0], wanted.bos, wanted.max_len, wanted.expected_len
    prefix, prefix_mask = wanted.prefix, wanted.prefix_mask
    token_B = jnp.full(B, bos, jnp.int32)
    limit_B = jnp.full(B, max_len, jnp.int32) if wanted.limit is None else jnp.minimum(wanted.limit, max_len)
    if prefix is not None and prefix.shape[1]:
        mask_BP = jnp.ones(prefix.shape, bool) if prefix_mask is None else prefix_mask
        last_B = prefix.shape[1] - 1 - jnp.argmax(mask_BP[:, ::-1], axis=1)
        token_B = jnp.where(mask_BP.any(1), _pick(prefix, last_B), bos).astype(jnp.int32)
        prefix_mask = mask_BP & (jnp.arange(prefix.shape[1]) != last_B[:, None])

    def start(length: int) -> tuple[Any, Any]:
        return model.start(source, source_mask, length, prefix, prefix_mask)

    lengths = [expected_len, max_len] if expected_len is not None and 0 < expected_len < max_len else [max_len]
    memory, state = start(lengths[0])
    rooms = [(length, jax.eval_shape(functools.partial(start, length))[1]) for length in lengths]
    return _Begun(memory, state, token_B, limit_B, rooms)


def _run(begun: _Begun, running: Callable[[Any], Array], advance: Callable[[Any], Any], loop: Any) -> Any:
    """`advance` while `running`, for at most as many steps as the last of the rooms holds."""

    def until(length: int) -> Callable[[Any], Array]:
        return lambda now: (now.t < length) & running(now)

    for length, shapes in begun.rooms:
        loop = loop._replace(state=jax.tree.map(_enlarge, loop.state, shapes))
        loop = jax.lax.while_loop(until(length), advance, loop)
    return loop


def _enlarge(x: Array, wanted: Any) -> Array:
    """Fills the axes up with zeros at their ends; axes that lead the wanted ones (beams) stay."""
    beams = x.ndim - wanted.ndim
    return jnp.pad(x, [(0, 0)] * beams + [(0, b - a) for a, b in zip(x.shape[beams:], wanted.shape, strict=True)])


def _one_by_one(model: Architecture, begun: _Begun, wanted: Wanted, choose: Choose) -> Decoded:
    class Loop(NamedTuple):
        t: Array
        done_B: Array
        state: Any
        token_B: Array
        score_B: Array
        tokens_BN: Array

    def running(loop: Loop):
        return ~loop.done_B.all()

    def advance(loop: Loop) -> Loop:
        logits_BV, state = model.step(loop.token_B, loop.t, begun.memory, loop.state)
        token_B = jnp.where(loop.done_B, wanted.pad, choose(loop.t, logits_BV)).astype(jnp.int32)
        gain_B = _pick(logits_BV, token_B) - jax.nn.logsumexp(logits_BV, axis=-1)
        done_B = loop.done_B | (loop.t + 1 >= begun.limit)
        if wanted.eos is not None:
            done_B |= token_B == wanted.eos
        score_B = jnp.where(loop.done_B, loop.score_B, loop.score_B + gain_B)
        return Loop(loop.t + 1, done_B, state, token_B, score_B, loop.tokens_BN.at[:, loop.t].set(token_B))

    B = begun.token.shape[0]
    tokens_BN = jnp.full((B, wanted.max_len), wanted.pad, jnp.int32)
    first = Loop(jnp.zeros((), jnp.int32), begun.limit <= 0, begun.state, begun.token, jnp.zeros(B), tokens_BN)
    loop = _run(begun, running, advance, first)
    return Decoded(loop.tokens_BN, loop.score_B)


def _candidates(logits_KBV: Array, score_BK: Array) -> tuple[Array, Array, Array]:
    """The 2K best continuations of all beams: their score, beam and token, best first.

    Of 2K at most K end in EOS, so K live ones remain. Within a beam they are ranked by their logits,
    whose differences are not yet rounded away in a sum.
    """
    K, B, V = logits_KBV.shape
    top_KBC, token_KBC = jax.lax.top_k(logits_KBV, min(K + 1, V))
    gain_KBC = top_KBC - jax.nn.logsumexp(logits_KBV, axis=-1, keepdims=True)
    total_BX = (score_BK[:, :, None] + gain_KBC.swapaxes(0, 1)).reshape(B, -1)
    score_BJ, place_BJ = jax.lax.top_k(total_BX, min(2 * K, total_BX.shape[1]))
    token_BJ = jnp.take_along_axis(token_KBC.swapaxes(0, 1).reshape(B, -1), place_BJ, axis=1)
    return score_BJ, place_BJ // top_KBC.shape[2], token_BJ


def _pick(x_BN: Array, index_B: Array) -> Array:
    """x[b, index[b]] for each row."""
    return jax.vmap(lambda row, index: row[index])(x_BN, index_B)
