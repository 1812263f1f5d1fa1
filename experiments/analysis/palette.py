"""The look of a series, the same in every figure: one colour per family, one dash and marker per variant."""

from typing import NamedTuple

# Okabe & Ito's palette (2008).
COLOURS = {
    "rnn": "#D55E00",
    "lstm": "#0072B2",
    "gru": "#009E73",
    "attention": "#CC79A7",
    "conv": "#56B4E9",
    "transformer": "#000000",
    "other": "#E69F00",
}
PALE = {"lstm": "#8FB8D9"}
DASHES = ([1, 0], [5, 2], [2, 2], [6, 2, 1, 2], [9, 3])
MARKERS = ("circle", "square", "triangle-up", "diamond", "cross")
GREY = "#666666"


class Look(NamedTuple):
    family: str
    variant: int = 0
    pale: bool = False  # what accompanies the series of the full colour

    @property
    def colour(self) -> str:
        return (PALE if self.pale else COLOURS).get(self.family, COLOURS["other"])

    @property
    def dash(self) -> list[int]:
        return DASHES[self.variant % len(DASHES)]

    @property
    def marker(self) -> str:
        return MARKERS[self.variant % len(MARKERS)]
