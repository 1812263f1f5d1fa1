"""Numbers in words."""

import math

import pytest

from experiments.analysis.words import number


@pytest.mark.parametrize(
    ("value", "form", "said"),
    [
        (1234.5, ",.0f", "1,234"),
        (-0.0003, "+.3f", "+0.000"),
        (-0.3, ",.0f", "0"),
        (-0.3, "+.1f", "-0.3"),
        (1e-5, ".2g", "1e-05"),
        (None, ".2g", "–"),
        (math.nan, "+.1f", "–"),
    ],
)
def test_a_number_has_its_form_no_sign_at_zero_and_a_dash_where_unknown(value, form, said):
    assert number(value, form) == said
