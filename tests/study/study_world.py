"""A world small enough to rank by hand: users u0–u4; items i0–i6 warm, i7 (test), i8 (valid) and i9 (nobody's) cold."""

import io

import pyarrow as pa
import torch
from PIL import Image

from mmgraph.data.dataset import Dataset
from mmgraph.data.protocols import Given
from mmgraph.data.raw import Raw
from mmgraph.data.split import Split

TRAIN = {"u0": "0123", "u1": "014", "u2": "025", "u3": "16", "u4": "0"}
VALID = {"u0": "48", "u1": "2", "u2": "68"}
TEST = {"u0": "57", "u1": "3", "u2": "71", "u3": "0"}


def rows(part, held):
    return [(user, f"i{item}", part) for user, items in held.items() for item in items]


def png(colour, size=(300, 200)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "png")
    return file.getvalue()


class Planted:
    """A scorer whose scores are given."""

    def __init__(self, scores):
        self.matrix = torch.as_tensor(scores, dtype=torch.float32)

    @property
    def n_items(self):
        return self.matrix.shape[1]

    def scores(self, users):
        return self.matrix[users].clone()


def tiny(valid=VALID, test=TEST, **content):
    user, item, part = zip(*rows("train", TRAIN), *rows("valid", valid), *rows("test", test), strict=True)
    items = {"item": [f"i{n}" for n in range(10)], **content}
    raw = Raw(pa.table({"user": user, "item": item, "part": part}), pa.table(items))
    return Split.of(Dataset.from_raw(raw), Given())
