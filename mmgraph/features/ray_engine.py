"""The same job on Ray Data: shards of contents go out, rows come back; on a CPU bit for bit the local ones."""

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from mmgraph.features.contents import Contents
from mmgraph.features.encoder import Encoder
from mmgraph.features.engine import Compute, Encoded, encode_shards


def encode_on_ray(encoder: Encoder, contents: Contents, shards: Sequence[Sequence[int]],
                  how: Compute) -> Iterator[Encoded]:
    """As `encode_shards`, each shard a row of a Ray data set. Shards come in any order.

    Joins the cluster of ``ray.init`` or ``RAY_ADDRESS``, or else starts one on this machine for the time of the job.
    Paths must lead to the same files on every machine. Each worker decodes what it encodes; ``how.devices`` of type
    cuda ask for one GPU per worker.

    Raises:
        ImportError: if Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError('the engine "ray" needs Ray Data: pip install "mmgraph[ray]"') from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = [{"numbers": list(shard), "contents": [contents[n] for n in shard]} for shard in shards]
        gpus: dict[str, Any] = {"num_gpus": 1} if any(place.type == "cuda" for place in how.places()) else {}
        worker: Any = Worker  # Ray makes one in each of its processes and calls it
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            worker, fn_constructor_args=(encoder, how, torch.get_num_threads()), concurrency=workers(how, len(rows)),
            **gpus)
        for row in done.iter_rows():
            yield unpacked(row)
    finally:
        if ours:
            ray.shutdown()


def workers(how: Compute, n_shards: int) -> int:
    """Ray workers: as many as asked for, or as the cluster has cores or GPUs, and no more than there are shards."""
    import ray

    resources = ray.cluster_resources()
    there = resources.get("GPU", 0) if any(p.type == "cuda" for p in how.places()) else resources.get("CPU", 1)
    return max(min(how.workers or int(there), n_shards), 1)


class Worker:
    """Encodes one shard after the other in a process of Ray's."""

    def __init__(self, encoder: Encoder, how: Compute, threads: int):
        torch.set_num_threads(threads)  # the order of a sum, and so its last bit, depends on it
        self.encoder = encoder
        self.how = Compute(how.batch_size, 0, how.devices, how.dtype, how.shard_size)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        numbers, contents = [int(n) for n in row["numbers"]], dict(zip(row["numbers"], row["contents"], strict=True))
        found = next(encode_shards(self.encoder, contents.__getitem__, [numbers], self.how))
        raw = found.x.contiguous().view(torch.uint8).numpy().tobytes()
        about = {"read": found.read, "dtype": str(found.x.dtype).removeprefix("torch."), "dim": found.x.shape[1],
                 "reasons": list(found.reasons.items()), "remarks": list(found.remarks.items())}
        return {"numbers": numbers, "x": raw, "about": json.dumps(about)}


def unpacked(row: dict[str, Any]) -> Encoded:
    """What `Worker` sent."""
    about = json.loads(row["about"])
    x = torch.from_numpy(np.frombuffer(row["x"], np.uint8).copy()).view(getattr(torch, about["dtype"]))
    return Encoded([int(n) for n in row["numbers"]], about["read"], x.reshape(len(about["read"]), about["dim"]),
                   dict(about["reasons"]), dict(about["remarks"]))
