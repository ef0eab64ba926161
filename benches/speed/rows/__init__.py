"""The rows of the table, in its order. Adding one is a file here and an entry in `ROWS`."""

from __future__ import annotations

from speed.case import Row
from speed.rows import icfl, importing, mp, omp, selectivity, topk, training, whitening

__all__ = ["ROWS"]

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        icfl.ROW,
        topk.ROW,
        omp.ROW,
        mp.ROW,
        training.ROW,
        whitening.ROW,
        selectivity.ROW,
        importing.ROW,
    )
}
