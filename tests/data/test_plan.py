"""Plans: every example once an epoch, little padding, the same shapes for every seed."""

import numpy as np
import pytest

from data.buckets import check_budget, length_buckets, single_bucket
from data.plan import APART, BucketPlan, EndlessPlan

BUDGET = 512


@pytest.fixture(scope="module")
def lengths():
    random = np.random.default_rng(0)
    source = 2 + random.gamma(4, 3, 3000).astype(int).clip(0, 40)
    return np.stack([source, (source + random.normal(0, 2, 3000)).round().clip(2, 45)], axis=1).astype(np.int32)


def padding(buckets, lengths):
    return 1 - lengths.sum() / sum(b.rows * b.num_batches * sum(b.shape) for b in buckets)


@pytest.mark.parametrize("num_buckets", [1, 4, 12])
def test_buckets_hold_every_example_within_the_budget(lengths, num_buckets):
    buckets = length_buckets(lengths, BUDGET, num_buckets)
    assert 1 <= len(buckets) <= num_buckets
    np.testing.assert_array_equal(np.sort(np.concatenate([b.examples for b in buckets])), np.arange(len(lengths)))
    for bucket in buckets:
        assert (lengths[bucket.examples].max(axis=0) == bucket.shape).all()
        assert bucket.rows % 8 == 0 and bucket.rows * max(bucket.shape) <= BUDGET


def test_more_buckets_pad_less(lengths):
    shares = [padding(length_buckets(lengths, BUDGET, count), lengths) for count in (1, 4, 8, 16)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.5 and shares[-1] < 0.1


def test_hardly_any_row_is_filler(lengths):
    plan = BucketPlan(length_buckets(lengths, BUDGET, 12), seed=0)
    filler = np.concatenate([plan.batch(k).index_B < 0 for k in range(plan.num_batches)])
    assert filler.mean() < 0.005


def test_few_examples_get_few_buckets():
    assert len(length_buckets(np.array([[3, 4]] * 5 + [[9, 9]]), 100, 8)) == 1  # a bucket would be mostly filler


def test_examples_longer_than_the_budget_still_have_a_shape():
    (bucket,) = length_buckets(np.array([[500, 3]]), BUDGET, 4)
    assert (bucket.rows, bucket.shape) == (8, (500, 3))


def test_a_budget_without_room_says_what_has():
    check_budget(np.array([[3, 64]]), BUDGET)
    with pytest.raises(ValueError, match=r"tokens_per_batch = 512 .* \(65 tokens\); use 520 or more, or lower"):
        check_budget(np.array([[3, 65]]), BUDGET)


def test_every_example_once_an_epoch(lengths):
    plan = BucketPlan(length_buckets(lengths, BUDGET, 6), seed=1)
    for epoch in (0, 1, 5):
        seen = np.concatenate([plan.batch(epoch * plan.num_batches + k).index_B for k in range(plan.num_batches)])
        np.testing.assert_array_equal(np.sort(seen[seen >= 0]), np.arange(len(lengths)))


def test_seed_permutes_the_contents_and_not_the_shapes(lengths):
    buckets = length_buckets(lengths, BUDGET, 6)
    one, two = BucketPlan(buckets, seed=1), BucketPlan(buckets, seed=2)
    same = [one.batch(k) for k in range(2 * one.num_batches)], [two.batch(k) for k in range(2 * one.num_batches)]
    assert [batch.shape for batch in same[0]] == [batch.shape for batch in same[1]]
    assert not any((a.index_B == b.index_B).all() for a, b in zip(*same, strict=True) if (a.index_B >= 0).sum() > 8)
    first, second = same[0][: one.num_batches], same[0][one.num_batches :]
    assert [b.shape for b in first] != [b.shape for b in second]  # epochs differ in both
    assert not np.array_equal(np.concatenate([b.index_B for b in first]), np.concatenate([b.index_B for b in second]))


def test_batch_is_a_pure_function_of_seed_and_k(lengths):
    plan = BucketPlan(length_buckets(lengths, BUDGET, 6), seed=3)
    forward = [plan.batch(k).index_B for k in range(40)]
    fresh = BucketPlan(length_buckets(lengths, BUDGET, 6), seed=3)
    for k in reversed(range(40)):
        np.testing.assert_array_equal(fresh.batch(k).index_B, forward[k])


def test_shapes_are_mixed_through_the_epoch(lengths):
    plan = BucketPlan(length_buckets(lengths, BUDGET, 6), seed=0)
    half = plan.num_batches // 2
    assert {plan.batch(k).shape for k in range(half)} == {plan.batch(half + k).shape for k in range(half)}


def test_shapes_come_into_use_one_after_another_in_the_first_epoch_alone(lengths):
    plan = BucketPlan(length_buckets(lengths, 128, 6), seed=0)

    def first_used(epoch):
        shapes = [plan.batch(epoch * plan.num_batches + k).shape for k in range(plan.num_batches)]
        return sorted(shapes.index(shape) for shape in set(shapes))

    assert plan.num_batches > 12 * APART
    begun = first_used(0)
    assert begun[0] == 0 and all(k >= n * APART for n, k in enumerate(begun))
    assert begun[-1] < plan.num_batches // 2
    assert first_used(1)[-1] < begun[-1]


def test_without_a_seed_the_order_stays():
    plan = BucketPlan(single_bucket(10, 4, (3, 2)), seed=None)
    assert [plan.batch(k).index_B.tolist() for k in range(3)] == [[0, 1, 2, 3], [4, 5, 6, -1], [7, 8, 9, -1]]
    assert plan.batch(3).index_B.tolist() == [0, 1, 2, 3]


def test_endless_plan():
    plan = EndlessPlan(4, (3, 2))
    assert plan.shapes == [(4, 3, 2)]
    assert plan.num_batches is None
    assert plan.batch(5).index_B.tolist() == [20, 21, 22, 23] and plan.batch(5).shape == (3, 2)


def test_long_texts_are_planned_quickly_enough():
    random = np.random.default_rng(0)
    lengths = random.gamma(3, 60, (20_000, 2)).astype(int) + 1
    buckets = length_buckets(lengths, 1 << 16, 8)
    assert len(buckets) == 8 and padding(buckets, lengths) < padding(length_buckets(lengths, 1 << 16, 4), lengths)
