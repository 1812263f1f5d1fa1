"""Decoding against brute force and a plain search in Python, on a toy whose logits depend on the whole past."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from models import build
from models.contract import Architecture
from models.decoding import METHODS, Wanted, decoder, sample_tokens

PAD, BOS, EOS = 0, 1, 2
V, STATES, ROWS = 5, 97, 12
LOGITS = 2 * np.random.default_rng(0).normal(size=(ROWS, STATES, V)).astype(np.float32)
LOGITS[..., PAD] = LOGITS[..., BOS] = -20.0  # so that there are few sequences to enumerate
SOURCE = np.arange(ROWS)[:, None]
MASK = np.ones((ROWS, 1), bool)
BOTH = (jnp.asarray(SOURCE), jnp.asarray(MASK))
KEYS = jax.random.split(jax.random.key(0), ROWS)
IDS = {"bos": BOS, "eos": EOS, "pad": PAD}


class Toy(Architecture):
    """The state is a hash of all tokens fed, the source says which table it looks its logits up in."""

    def __init__(self):
        pass

    def start(self, source, source_mask, max_len, prefix=None, prefix_mask=None):
        hash_B = jnp.zeros(source.shape[0], jnp.int32)
        for p in range(0 if prefix is None else prefix.shape[1]):
            real_B = True if prefix_mask is None else prefix_mask[:, p]
            hash_B = jnp.where(real_B, advance(hash_B, prefix[:, p]), hash_B)
        return {"row": source[:, 0]}, {"hash": hash_B}

    def step(self, token_B, t, memory, state):
        hash_B = advance(state["hash"], token_B)
        return jnp.asarray(LOGITS)[memory["row"], hash_B], {"hash": hash_B}


def advance(number, token):
    return (number * 31 + token + 7) % STATES


def run(method, rows=slice(None), **options):
    known = IDS | {name: options.pop(name) for name in Wanted._fields if name in options}
    arrays = {name: known.pop(name) for name in ("limit", "prefix", "prefix_mask") if name in known}
    drawn = {"key": options.pop("key")} if "key" in options else {}

    @jax.jit
    def decode(source, mask, arrays, drawn):
        return METHODS[method](Toy(), source, mask, Wanted(**known, **arrays), **options, **drawn)

    return jax.tree.map(np.asarray, decode(SOURCE[rows], MASK[rows], arrays, drawn))


def log_probs(row, tokens):
    """log P of every next token after BOS and `tokens`."""
    number = advance(0, BOS)
    for token in tokens:
        number = advance(number, token)
    logits = LOGITS[row, number].astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def log_prob(row, tokens):
    return sum(log_probs(row, tokens[:n])[token] for n, token in enumerate(tokens))


def penalised(row, tokens, penalty):
    return log_prob(row, tokens) / ((5 + len(tokens)) / 6) ** penalty


def text(tokens):
    """What stands up to and including EOS, and only padding after it."""
    tokens = tokens.tolist()
    if EOS in tokens:
        end = tokens.index(EOS) + 1
        assert set(tokens[end:]) <= {PAD}
        return tokens[:end]
    return tokens


def plain_beam(row, beam_size, penalty, max_len):
    """The search that `beam_search` documents, with lists."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for _ in range(max_len):
        options = [
            (score + gain, [*tokens, token])
            for score, tokens in live
            for token, gain in enumerate(log_probs(row, tokens))
        ]
        options.sort(key=lambda option: -option[0])
        finished += [option for option in options[:beam_size] if option[1][-1] == EOS]
        live = [option for option in options if option[1][-1] != EOS][:beam_size]
        best = max((score / ((5 + len(y)) / 6) ** penalty for score, y in finished), default=-np.inf)
        if len(finished) >= beam_size or best >= live[0][0] / ((5 + max_len) / 6) ** penalty:
            break
    return max(finished or live[:1], key=lambda option: option[0] / ((5 + len(option[1])) / 6) ** penalty)[1]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_a_beam_wide_enough_finds_the_best_of_all_sequences(penalty):
    N = 4
    decoded = run("beam", rows=slice(4), beam_size=160, length_penalty=penalty, max_len=N)
    for row in range(4):
        everything = [[*body, EOS] for n in range(N) for body in itertools.product([PAD, BOS, 3, 4], repeat=n)]
        best = max(everything, key=lambda tokens: penalised(row, tokens, penalty))
        assert text(decoded.tokens[row]) == best
        np.testing.assert_allclose(decoded.scores[row], penalised(row, best, penalty), rtol=1e-5)


@pytest.mark.parametrize(("beam_size", "penalty"), [(2, 0.0), (3, 1.0), (5, 0.6)])
def test_narrow_beams_are_the_plain_search(beam_size, penalty):
    decoded = run("beam", beam_size=beam_size, length_penalty=penalty, max_len=9)
    expected = [plain_beam(row, beam_size, penalty, 9) for row in range(ROWS)]
    assert [text(tokens) for tokens in decoded.tokens] == expected
    for row, tokens in enumerate(expected):
        np.testing.assert_allclose(decoded.scores[row], penalised(row, tokens, penalty), rtol=1e-5)
    assert [text(tokens) for tokens in run("greedy", max_len=9).tokens] != expected


def test_the_best_of_a_beam_wide_enough_are_the_best_of_all_sequences():
    N, R = 4, 7
    decoded = run("beam", rows=slice(4), beam_size=160, length_penalty=0.6, num_best=R, max_len=N)
    for row in range(4):
        everything = [[*body, EOS] for n in range(N) for body in itertools.product([PAD, BOS, 3, 4], repeat=n)]
        best = sorted(everything, key=lambda tokens: -penalised(row, tokens, 0.6))[:R]
        assert [text(tokens) for tokens in decoded.tokens[R * row :][:R]] == best
        np.testing.assert_allclose(decoded.scores[R * row :][:R], [penalised(row, y, 0.6) for y in best], rtol=1e-5)


def test_live_beams_follow_where_fewer_have_finished():
    decoded = run("beam", beam_size=4, num_best=4, max_len=2)
    finished = (decoded.tokens == EOS).any(axis=1).reshape(ROWS, 4)
    assert (np.diff(finished.astype(int), axis=1) <= 0).all() and not finished.all()
    for row in range(ROWS):
        found = [text(tokens) for tokens in decoded.tokens[4 * row :][:4]]
        assert len({tuple(tokens) for tokens in found}) == 4
        np.testing.assert_allclose(decoded.scores[4 * row :][:4], [penalised(row, y, 0.6) for y in found], rtol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beam_1_is_greedy(penalty):
    one, plain = run("beam", beam_size=1, length_penalty=penalty, max_len=9), run("greedy", max_len=9)
    np.testing.assert_array_equal(one.tokens, plain.tokens)
    if penalty == 0:
        np.testing.assert_array_equal(one.scores, plain.scores)
    lengths = {len(text(tokens)) for tokens in plain.tokens}
    assert len(lengths) > 2 and min(lengths) < 9  # some rows end early, others do not


def test_greedy_takes_the_maximum_and_sums_log_probabilities():
    decoded = run("greedy", max_len=9)
    for row, tokens in enumerate(map(text, decoded.tokens)):
        assert tokens == [int(np.argmax(log_probs(row, tokens[:n]))) for n in range(len(tokens))]
        np.testing.assert_allclose(decoded.scores[row], log_prob(row, tokens), rtol=1e-5)


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_without_eos_every_row_has_the_fixed_length(method):
    decoded = run(method, max_len=6, eos=None)
    assert decoded.tokens.shape == (ROWS, 6) and (decoded.tokens != PAD).all() and (decoded.tokens == EOS).any()


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_each_row_stops_at_its_limit_as_if_alone(method):
    options = {"eos": None} | ({"key": KEYS} if method == "sample" else {})
    limit = np.arange(ROWS) % 7
    limited, whole = run(method, max_len=6, limit=limit, **options), run(method, max_len=6, **options)
    for row in range(ROWS):
        assert (limited.tokens[row, limit[row] :] == PAD).all()
        if method != "beam":
            np.testing.assert_array_equal(limited.tokens[row, : limit[row]], whole.tokens[row, : limit[row]])
    if method == "beam":
        short = run("beam", max_len=3, **options)
        np.testing.assert_array_equal(limited.tokens[limit == 3, :3], short.tokens[limit == 3])


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_known_beginning_is_continued(method):
    whole = run("greedy", max_len=8, eos=None).tokens
    known = np.arange(ROWS) % 4  # tokens after BOS
    for left in (True, False):
        prefix, mask = np.full((ROWS, 4), 3), np.zeros((ROWS, 4), bool)
        for row, n in enumerate(known):
            at = slice(3 - n, 4) if left else slice(0, n + 1)
            prefix[row, at], mask[row, at] = [BOS, *whole[row, :n]], True
        options = {"beam_size": 1} if method == "beam" else {}
        decoded = run(method, max_len=4, eos=None, prefix=prefix, prefix_mask=mask, **options)
        for row, n in enumerate(known):
            np.testing.assert_array_equal(decoded.tokens[row], whole[row, n : n + 4])


def test_a_row_without_prefix_begins_with_bos():
    prefix, mask = np.full((ROWS, 2), 3), np.zeros((ROWS, 2), bool)
    decoded = run("greedy", max_len=5, prefix=prefix, prefix_mask=mask)
    np.testing.assert_array_equal(decoded.tokens, run("greedy", max_len=5).tokens)


PROBABILITIES = np.array([0.05, 0.5, 0.15, 0.3])
DRAWS = 20_000


def frequencies(**options):
    logits = np.broadcast_to(np.log(PROBABILITIES), (DRAWS, 4)).astype(np.float32)
    tokens = jax.jit(lambda key, logits: sample_tokens(key, logits, **options))(
        jax.random.split(jax.random.key(0), DRAWS), logits
    )
    return np.bincount(np.asarray(tokens), minlength=4) / DRAWS


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2),
        ({"top_k": 2}, [0, 0.5, 0, 0.3]),
        ({"top_k": 99}, PROBABILITIES),
        ({"top_p": 0.79}, [0, 0.5, 0, 0.3]),
        ({"top_p": 0.81}, [0, 0.5, 0.15, 0.3]),
        ({"top_p": 1e-6}, [0, 1, 0, 0]),
        ({"top_k": 3, "top_p": 0.8}, [0, 0.5, 0, 0.3]),  # 0.8 of what top_k left
        ({"temperature": 0.0}, [0, 1, 0, 0]),
    ],
)
def test_samples_follow_the_distribution_that_was_asked_for(options, expected):
    expected = np.asarray(expected) / np.sum(expected)
    got = frequencies(**options)
    assert (got[expected == 0] == 0).all()
    np.testing.assert_allclose(got, expected, atol=5 * np.sqrt(0.25 / DRAWS))


def test_sampling_follows_its_key_and_greedy_at_temperature_0():
    one, again, other = (run("sample", max_len=8, key=keys) for keys in (KEYS, KEYS, KEYS[::-1]))
    np.testing.assert_array_equal(one.tokens, again.tokens)
    assert (one.tokens != other.tokens).any()
    some = slice(3, 7)
    np.testing.assert_array_equal(run("sample", rows=some, max_len=8, key=KEYS[some]).tokens, one.tokens[some])
    cold = run("sample", max_len=8, key=KEYS, temperature=0.0)
    np.testing.assert_array_equal(cold.tokens, run("greedy", max_len=8).tokens)
    for row, tokens in enumerate(map(text, one.tokens)):
        np.testing.assert_allclose(one.scores[row], log_prob(row, tokens), rtol=1e-5)


def random_transformer(rng, **changes):
    """Large weights, so that outputs follow what was read."""
    spec = Spec("tokens", V, V, "tokens", V, 4, 8, eos=EOS)
    config = models.configured("transformer")
    config.update({"hidden_size": 8, "mlp_dim": 8, "num_heads": 2, "num_layers": 1} | changes)
    graphdef, params = nnx.split(nnx.eval_shape(lambda: build("transformer", config, spec, jax.random.key(0))))
    return nnx.merge(graphdef, jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params))


def test_decoder_jits_a_whole_model_and_beams_reorder_its_caches():
    rng = np.random.default_rng(3)
    model = random_transformer(rng)
    graphdef = nnx.graphdef(model)
    source = jnp.asarray(rng.integers(3, V, (6, 4)))
    mask = jnp.arange(4) < jnp.array([4, 3, 2, 1, 4, 2])[:, None]
    decoded = decoder("beam", **IDS, beam_size=3, length_penalty=0.0)(model, source, mask, max_len=7)
    plain = decoder("greedy", **IDS)(model, source, mask, max_len=7)
    with pytest.raises(TypeError, match="lmit"):
        decoder("greedy", **IDS)(model, source, mask, max_len=7, lmit=np.full(len(source), 3))
    assert (np.asarray(decoded.scores) >= np.asarray(plain.scores) - 1e-5).mean() > 0.5
    # The score of each hypothesis is what the model gives it when it is fed whole: no cache was mixed up.
    tokens = np.asarray(decoded.tokens)
    target_in = jnp.concatenate([jnp.full((6, 1), BOS), tokens[:, :-1]], axis=1)
    logits = jax.jit(lambda params: nnx.merge(graphdef, params)(source, mask, target_in).logits)(nnx.state(model))
    gains = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), tokens[:, :, None], axis=2)[:, :, 0]
    expected = [gains[row, : len(text(tokens[row]))].sum() for row in range(6)]
    np.testing.assert_allclose(decoded.scores, expected, atol=1e-4)


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_little_room_at_first_changes_nothing(method):
    rng = np.random.default_rng(4)
    model, ids = random_transformer(rng, tie_embeddings=False), IDS | {"eos": None}
    inputs = (rng.integers(3, V, (6, 4)), np.ones((6, 4), bool))
    whole = decoder(method, **ids)(model, *inputs, max_len=9)
    grown = decoder(method, **ids)(model, *inputs, max_len=9, expected_len=3)
    late = np.asarray(whole.tokens)[:, 3:]
    assert (late != late[:, :1]).any()  # something is still being decided where there is more room
    np.testing.assert_array_equal(grown.tokens, whole.tokens)
    np.testing.assert_allclose(grown.scores, whole.scores, rtol=1e-5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="method = 'beem' is not known; did you mean beam"):
        decoder("beem", **IDS)
    with pytest.raises(ValueError, match="beam_size = 0"):
        METHODS["beam"](Toy(), *BOTH, Wanted(**IDS, max_len=3), beam_size=0)
    with pytest.raises(ValueError, match="top_p = 0"):
        METHODS["sample"](Toy(), *BOTH, Wanted(**IDS, max_len=3), key=KEYS, top_p=0)
    with pytest.raises(ValueError, match="num_best = 3"):
        METHODS["beam"](Toy(), *BOTH, Wanted(**IDS, max_len=3), beam_size=2, num_best=3)
