"""Analogies that image captions can carry: a is to b as c is to d, for `eval.py --analogies`.

After Mikolov et al. 2013 ("Efficient estimation of word representations in vector space", section 4.1), in words that
the captions of Multi30k have in English.
"""

RELATIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "sex": (
        ("man", "woman"),
        ("boy", "girl"),
        ("men", "women"),
        ("boys", "girls"),
        ("he", "she"),
        ("his", "her"),
        ("father", "mother"),
        ("son", "daughter"),
        ("brother", "sister"),
        ("male", "female"),
        ("guy", "lady"),
        ("guys", "ladies"),
    ),
    "number": (
        ("man", "men"),
        ("woman", "women"),
        ("child", "children"),
        ("dog", "dogs"),
        ("boy", "boys"),
        ("girl", "girls"),
        ("car", "cars"),
        ("tree", "trees"),
        ("horse", "horses"),
        ("bike", "bikes"),
        ("player", "players"),
        ("building", "buildings"),
        ("person", "people"),
        ("chair", "chairs"),
    ),
    "colour": (
        ("grass", "green"),
        ("sky", "blue"),
        ("snow", "white"),
        ("water", "blue"),
        ("tree", "green"),
        ("fire", "red"),
        ("sand", "brown"),
        ("sun", "yellow"),
        ("lawn", "green"),
        ("ocean", "blue"),
    ),
    "tense": (
        ("walks", "walking"),
        ("runs", "running"),
        ("sits", "sitting"),
        ("stands", "standing"),
        ("plays", "playing"),
        ("jumps", "jumping"),
        ("rides", "riding"),
        ("looks", "looking"),
        ("holds", "holding"),
        ("watches", "watching"),
        ("climbs", "climbing"),
        ("swims", "swimming"),
        ("eats", "eating"),
        ("wears", "wearing"),
    ),
}
"""Pairs of one relation."""


def questions() -> list[tuple[str, tuple[str, str, str, str]]]:
    """(relation, (a, b, c, d)): each pair asks for the next one of its relation, the last for the first. Fifty."""
    return [
        (relation, (*pair, *pairs[(place + 1) % len(pairs)]))
        for relation, pairs in RELATIONS.items()
        for place, pair in enumerate(pairs)
    ]
