"""Groups: their tables obey the axioms, and products are taken in the order that the page says."""

import numpy as np
import pytest

from data.tasks.state_tracking import permutations, product_table

ORDERS = {"S3": 6, "S5": 120, "A5": 60, "Z60": 60}


@pytest.mark.parametrize("group", sorted(ORDERS))
def test_a_table_is_that_of_a_group(group):
    table, order = product_table(permutations(group)), ORDERS[group]
    every = np.arange(order)
    assert table.shape == (order, order)
    np.testing.assert_array_equal(table[0], every)  # the identity is the first
    np.testing.assert_array_equal(table[:, 0], every)
    np.testing.assert_array_equal(np.sort(table, axis=0), np.broadcast_to(every[:, None], table.shape))
    np.testing.assert_array_equal(np.sort(table, axis=1), np.broadcast_to(every, table.shape))
    a, b, c = np.random.default_rng(0).integers(0, order, (3, 500))
    np.testing.assert_array_equal(table[table[a, b], c], table[a, table[b, c]])
    assert np.array_equal(table, table.T) == (group == "Z60")


def test_the_left_element_is_applied_first():
    """Of 0 1 2: exchange the last two, then the first two; 0 goes to 0 and on to 1, 1 to 2, 2 to 1 and on to 0."""
    elements = permutations("S3").tolist()
    last_two, first_two = elements.index([0, 2, 1]), elements.index([1, 0, 2])
    table = product_table(permutations("S3"))
    assert elements[table[last_two, first_two]] == [1, 2, 0]
    assert elements[table[first_two, last_two]] == [2, 0, 1]


def test_even_permutations_have_the_determinant_one():
    assert all(np.linalg.det(np.eye(5)[element]) == pytest.approx(1) for element in permutations("A5"))
