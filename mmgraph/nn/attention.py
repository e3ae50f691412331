"""Graph attention over several relations."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mmgraph.graph.graph import RelationKey

Edges = Mapping[RelationKey, Tensor]


class RelationAttention(nn.Module):
    r"""One layer of attention over the relations of a graph: a node adds up what each relation brings it.

    .. math:: h'_t = h_t + \sum_{r} \mathrm{ELU}\Big(\sum_{s \in N_r(t)} \alpha^r_{st} W^r h_s\Big)

    :math:`\alpha`: softmax over the neighbours of one relation (dynamic attention, one per head).

    Source: Brody et al., ICLR 2022, arXiv:2105.14491; relations summed as in arXiv:1703.06103.

    Args:
        keys: the relations (source, name, target) that bring messages.
        dim: width of all node vectors, divisible by ``heads``.
        heads: attention heads.
    """

    def __init__(self, keys: Iterable[RelationKey], dim: int, heads: int):
        from torch_geometric.nn import GATv2Conv  # takes a second to import, and only attention needs it

        super().__init__()
        self.keys = tuple(keys)
        self.convs = nn.ModuleList(
            GATv2Conv((dim, dim), dim // heads, heads=heads, add_self_loops=False, bias=False) for _ in self.keys)

    def forward(self, x: Mapping[str, Tensor], edges: Edges) -> dict[str, Tensor]:
        """New vectors of every node type.

        Args:
            x: node type → matrix of shape (nodes, dim).
            edges: relation → int tensor of shape (2, edges), sources and targets.
        """
        out = dict(x)
        for key, conv in zip(self.keys, self.convs, strict=True):
            source, _, target = key
            out[target] = out[target] + torch.nn.functional.elu(conv((x[source], x[target]), edges[key]))
        return out
