"""Content in, one matrix and one mask per modality out."""

from mmgraph.features.content import content_features
from mmgraph.features.encode import encode
from mmgraph.features.encoder import Encoder, Unreadable
from mmgraph.features.features import Features, from_arrays
from mmgraph.features.normalise import l2, pca, standardise, whiten
from mmgraph.features.store import load, save, verify

__all__ = ["Encoder", "Features", "Unreadable", "content_features", "encode", "from_arrays", "l2", "load", "pca",
           "save", "standardise", "verify", "whiten"]
