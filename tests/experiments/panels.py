"""What a test reads off the panels of a figure."""

from pandas import DataFrame


def titles(panels) -> list[str]:
    return [panel.to_dict()["title"]["text"] for panel in panels]


def frames(panel) -> list[DataFrame]:
    """The data of its layers."""
    return [DataFrame(rows) for rows in panel.to_dict()["datasets"].values()]


def means(panel) -> DataFrame:
    """A row a place of a series: `x`, `mean`, `low`, `high` and the seeds in words."""
    return next(frame for frame in frames(panel) if "interval" in frame)


def names(panel) -> list[str]:
    """Of the legend: the series that the panel has."""
    (domain,) = {tuple(one["scale"]["domain"]) for one in channels(panel.to_dict(), "color")}
    return list(domain)


def texts(panel) -> set[str]:
    """What is written into it, such as the names of levels."""
    return {one["text"] for one in _dicts(panel.to_dict(), "text") if one.get("type") == "text"}


def channels(spec, channel: str):
    return [one[channel] for one in _dicts(spec, channel) if "scale" in (one[channel] or {})]


def _dicts(value, key: str):
    """Every dict with the key, anywhere in a specification."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, dict) and isinstance(value.get(key), str | dict) else []
    return found + [one for part in inside for one in _dicts(part, key)]
