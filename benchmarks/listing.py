"""All that was measured, for one table: a row per program."""

from collections.abc import Mapping
from typing import Any

TITLE = "In turn on this machine; a ratio above 1: the first program of the case is faster"
COLUMNS = ["case", "program", "step (10 % to 90 %)", "ratio (95 %)", "per second", "matmul", "MFU", "memory", "besides"]


def rows(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    made: list[dict[str, str]] = []
    for case, result in found.items():
        mine = [cells(one, result["unit"], bool(n)) for n, one in enumerate(result["programs"])]
        mine += [{"program": program, "besides": f"FAILED: {why}"} for program, why in result["failed"].items()]
        mine[0]["case"] = case
        made += [{column: row.get(column, "") for column in COLUMNS} for row in mine]
    return made


def cells(one: Mapping[str, Any], unit: str, later: bool) -> dict[str, str]:
    said = {"program": one["program"], "besides": ", ".join(f"{key} {v:.6g}" for key, v in one["besides"].items())}
    if "median_seconds" not in one:
        return said
    unit_of_time, scale = ("ms", 1e3) if one["median_seconds"] < 1 else ("s", 1.0)
    p10, median, p90 = (f"{scale * one[f'{share}_seconds']:.3g}" for share in ("p10", "median", "p90"))
    return said | {
        "step (10 % to 90 %)": f"{median} {unit_of_time} ({p10} to {p90})",
        "ratio (95 %)": f"{one['ratio']:.2f} ({one['ratio_low']:.2f} to {one['ratio_high']:.2f})" if later else "",
        "per second": f"{one['per_second']:,.{0 if one['per_second'] >= 100 else 2}f} {unit}",
        "matmul": f"{one['matmul_share']:.0%}" if "matmul_share" in one else "",
        "MFU": f"{one['mfu']:.1%}" if "mfu" in one else "",
        "memory": f"{one['peak_memory_bytes'] / 2**20:,.0f} MiB",
    }
