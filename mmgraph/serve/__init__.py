"""A fitted model as a bundle on disk that recommends."""

from mmgraph.serve.recommender import Recommender

__all__ = ["Recommender"]
