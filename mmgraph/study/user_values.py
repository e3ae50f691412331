"""The values per user of the runs of one line: read, checked and averaged, and the intervals of their means."""

import os
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from mmgraph.data.types import Bools, Floats
from mmgraph.eval.bootstrap import bootstrap_means
from mmgraph.study.result import Result, per_user

RESAMPLES = 2000
Frames = Mapping[str, pd.DataFrame]  # candidates → value by (split, user) and metric


def averaged(folder: str | os.PathLike[str], runs: Sequence[Result],
             checked: Collection[str]) -> dict[str, pd.DataFrame]:
    """Candidates → mean over the seeds in which the user counts, indexed by (split, user), one column per metric.

    Args:
        folder: of the results.
        runs: the runs of one line.
        checked: metrics (without their @k) whose mean must be the one that the row states.

    Raises:
        ValueError: if a file is not the one that was written, holds a user twice, or has another mean than its row.
    """
    frames = []
    for run in runs:
        frame = per_user(folder, run).to_pandas().set_index(["candidates", "user"])
        if not frame.index.is_unique:
            raise ValueError(f"{run.users['file']} of {run.model} holds a user twice for one set of candidates.")
        _check(frame, run, checked)
        frames.append(pd.concat({run.split["fingerprint"]: frame}, names=["split"]))
    mean = pd.concat(frames).groupby(level=["candidates", "split", "user"]).mean()
    return {str(name): mean.loc[name] for name in mean.index.unique("candidates")}


def intervals(values: Mapping[str, Frames], columns: Sequence[tuple[str, str]], seed: int,
              ) -> dict[tuple[str, str, str], tuple[float | None, float | None, int]]:
    """(line, candidates, metric) → ends of the 95 % bootstrap interval of the mean over users, and users that count.

    Values are averaged over splits first; all columns with the same users share their resamples.
    """
    found: dict[tuple[str, str, str], tuple[float | None, float | None, int]] = {}
    for candidates in dict.fromkeys(c for c, _ in columns):
        metrics = [m for c, m in columns if c == candidates]
        wide = {(line, m): frames[candidates][m].groupby(level="user").mean() for line, frames in values.items()
                if candidates in frames for m in metrics if m in frames[candidates]}
        if wide:
            table = pd.concat(wide, axis=1)
            for (line, metric), ends in zip(wide, _ends(table.to_numpy(dtype=np.float64), seed), strict=True):
                found[line, candidates, metric] = ends
    return found


def _ends(x: Floats, seed: int) -> list[tuple[float | None, float | None, int]]:
    counts: Bools = ~np.isnan(x)
    found: list[tuple[float | None, float | None, int]] = [(None, None, int(n)) for n in counts.sum(0)]
    for mask in np.unique(counts, axis=1).T:
        if mask.sum() > 1:
            same = np.flatnonzero((counts == mask[:, None]).all(0))
            means = bootstrap_means(x[np.ix_(mask, same)], n=RESAMPLES, seed=seed)
            for at, (low, high) in zip(same, np.quantile(means, (0.025, 0.975), axis=0).T, strict=True):
                found[at] = (float(low), float(high), int(mask.sum()))
    return found


def _check(frame: pd.DataFrame, run: Result, checked: Collection[str]) -> None:
    means = frame.groupby(level="candidates").mean()
    for candidates, metrics in run.metrics.items():
        for metric, stated in metrics.items():
            if metric.partition("@")[0] not in checked:
                continue
            if candidates not in means.index or metric not in means.columns:
                raise ValueError(f"{run.users['file']} lacks the values of {metric} on {candidates} items that the row "
                                 f"of {run.model} states.")
            here = float(means[metric][candidates])
            if np.isnan(here) != (stated is None) or (stated is not None and abs(here - stated) > 1e-6):
                raise ValueError(f"{run.model}, seed {run.seed}: the row states {metric} {stated} on {candidates} "
                                 f"items, its values per user have the mean {here}.")
