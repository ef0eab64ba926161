"""The rows of the table, in its order. Adding one is a file here and an entry in `ROWS`."""

from __future__ import annotations

from speed.case import Row
from speed.rows import (
    auroc,
    autoencoder,
    avx2,
    icfl,
    importing,
    mp,
    omp,
    planted,
    selectivity,
    single,
    topk,
    training,
    whitening,
)

__all__ = ["ROWS"]

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        topk.ROW,
        topk.SMALL_ROW,
        icfl.ROW,
        omp.ROW,
        mp.ROW,
        training.ROW,
        autoencoder.ROW,
        autoencoder.AUX_ROW,
        whitening.ROW,
        selectivity.ROW,
        auroc.ROW,
        planted.ROW,
        avx2.TOPK_ROW,
        avx2.ICFL_ROW,
        single.TOPK_ROW,
        single.ICFL_ROW,
        importing.ROW,
    )
}
