"""Negative sampling, the epoch generator, checkpoints."""

from mmgraph.train.checkpoint import Run, load_checkpoint, save_checkpoint
from mmgraph.train.epochs import Epoch, Progress, epochs
from mmgraph.train.negatives import NegativeSampler
from mmgraph.train.train import train

__all__ = ["Epoch", "NegativeSampler", "Progress", "Run", "epochs", "load_checkpoint", "save_checkpoint", "train"]
