"""One relation of the graph: a sparse matrix from source nodes to target nodes, its transpose at hand."""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Relation:
    """Weighted edges from nodes of type ``source`` to nodes of type ``target``, as CSR. Immutable.

    Row s of ``matrix`` holds the edges that leave source node s. A message travels from source to target, so what
    target t receives is row t of ``transposed`` times the source vectors.

    Args:
        source: node type the edges leave.
        name: what the edges mean; unique in a graph.
        target: node type the edges enter.
        n_source: number of source nodes (rows).
        n_target: number of target nodes (columns).
        indptr: int tensor of shape (n_source + 1,).
        indices: target of each edge, int tensor, ascending within a row.
        weight: float32, finite, one per edge.

    Raises:
        ValueError: if the three arrays are not a valid CSR matrix of this shape.
    """

    source: str
    name: str
    target: str
    n_source: int
    n_target: int
    indptr: Int[Tensor, " rows"]
    indices: Int[Tensor, " edges"]
    weight: Float[Tensor, " edges"]

    def __post_init__(self) -> None:
        what = f"relation {self.source} → {self.name} → {self.target}"
        if len(self.indptr) != self.n_source + 1 or self.indptr[0] != 0 or (self.indptr.diff() < 0).any():
            raise ValueError(f"{what}: indptr must rise from 0 with {self.n_source} + 1 entries, "
                             f"got {len(self.indptr)} entries.")
        if int(self.indptr[-1]) != len(self.indices) or len(self.indices) != len(self.weight):
            raise ValueError(f"{what}: indptr ends at {int(self.indptr[-1])}, but there are {len(self.indices)} "
                             f"indices and {len(self.weight)} weights.")
        if len(self.indices) and not 0 <= int(self.indices.min()) <= int(self.indices.max()) < self.n_target:
            raise ValueError(f"{what}: targets must lie in [0, {self.n_target}), got "
                             f"{int(self.indices.min())} … {int(self.indices.max())}.")
        if not self.weight.isfinite().all():
            raise ValueError(f"{what}: {int((~self.weight.isfinite()).sum())} weights are NaN or infinite.")

    def __repr__(self) -> str:
        return f"{self.source} —{self.name}→ {self.target}: {self.n_edges:,} edges"

    @classmethod
    def of(cls, source: str, name: str, target: str, matrix: sp.sparray) -> "Relation":
        """From any SciPy matrix of shape (n_source, n_target); duplicate entries are summed."""
        csr = sp.csr_array(matrix, dtype=np.float32, copy=True)  # shares nothing with the caller
        csr.sum_duplicates()
        index = torch.int32 if max(*csr.shape, csr.nnz) < 2**31 else torch.int64  # int32 is four times as fast in MKL
        n_source, n_target = csr.shape
        return cls(source, name, target, n_source, n_target, torch.from_numpy(csr.indptr).to(index),
                   torch.from_numpy(csr.indices).to(index), torch.from_numpy(csr.data))

    @classmethod
    def from_edges(cls, source: str, name: str, target: str, n_source: int, n_target: int,
                   edges: Int[Tensor, "2 edges"], weight: Float[Tensor, " edges"] | None = None) -> "Relation":
        """From a list of edges, row 0 sources and row 1 targets; weight 1 by default, duplicates are summed."""
        s, t = edges.cpu().numpy()
        for ends, n, kind in ((s, n_source, source), (t, n_target, target)):
            if len(ends) and not 0 <= ends.min() <= ends.max() < n:
                raise ValueError(f"relation {name!r}: {kind} numbers must lie in [0, {n}), "
                                 f"got {ends.min()} … {ends.max()}.")
        w = np.ones(len(s), dtype=np.float32) if weight is None else weight.cpu().numpy()
        return cls.of(source, name, target, sp.csr_array((w, (s, t)), shape=(n_source, n_target)))

    @property
    def n_edges(self) -> int:
        """Number of edges."""
        return len(self.indices)

    @cached_property
    def matrix(self) -> Float[Tensor, "source target"]:
        """Torch CSR matrix, one row per source node."""
        return csr_tensor(self.indptr, self.indices, self.weight, (self.n_source, self.n_target))

    @cached_property
    def transposed(self) -> Float[Tensor, "target source"]:
        """Torch CSR matrix, one row per target node."""
        csc = self.scipy().tocsc()
        indptr, indices = (torch.from_numpy(a).to(self.indptr) for a in (csc.indptr, csc.indices))
        weight = torch.from_numpy(csc.data).to(self.weight.device)
        return csr_tensor(indptr, indices, weight, (self.n_target, self.n_source))

    def matrix_with(self, weight: Float[Tensor, " edges"]) -> Float[Tensor, "source target"]:
        """`matrix` with other weights on the same edges."""
        return csr_tensor(self.indptr, self.indices, weight, (self.n_source, self.n_target))

    def transposed_with(self, weight: Float[Tensor, " edges"]) -> Float[Tensor, "target source"]:
        """`transposed` with other weights on the same edges."""
        indptr, indices, order = self._by_target
        return csr_tensor(indptr, indices, weight[order], (self.n_target, self.n_source))

    @cached_property
    def _by_target(self) -> tuple[Tensor, Tensor, Tensor]:
        """The edges ordered by target: row pointers, sources, and the place of each in row order."""
        source, target = self.edges
        order = target.argsort(stable=True)
        indptr = torch.searchsorted(target[order], torch.arange(self.n_target + 1, device=target.device))
        return indptr.to(self.indptr), source[order].to(self.indices), order

    @cached_property
    def edges(self) -> Int[Tensor, "2 edges"]:
        """Source and target of each edge, int64, in row order."""
        degrees = self.indptr.diff().long()
        sources = torch.arange(self.n_source, device=degrees.device).repeat_interleave(degrees)
        return torch.stack([sources, self.indices.long()])

    @property
    def out_degree(self) -> Float[Tensor, " source"]:
        """Sum of the weights that leave each source node."""
        return self.weight.new_zeros(self.n_source).index_add(0, self.edges[0], self.weight)

    @property
    def in_degree(self) -> Float[Tensor, " target"]:
        """Sum of the weights that enter each target node."""
        return self.weight.new_zeros(self.n_target).index_add(0, self.edges[1], self.weight)

    @cached_property
    def symmetric(self) -> "Relation":
        r"""Each weight divided by the root of both degrees, :math:`w_{st} / \sqrt{d_s d_t}` (arXiv:1609.02907)."""
        s, t = self.edges
        scale = self.out_degree.clamp(min=1e-12).rsqrt()[s] * self.in_degree.clamp(min=1e-12).rsqrt()[t]
        return self.weighted(self.weight * scale)

    @cached_property
    def averaging(self) -> "Relation":
        """Weights scaled so that those that enter a target sum to 1: the target receives the mean of its sources."""
        return self.weighted(self.weight / self.in_degree.clamp(min=1e-12)[self.edges[1]])

    def scipy(self) -> sp.csr_array:
        """The same matrix for SciPy, on the CPU."""
        arrays = (self.weight.cpu().numpy(), self.indices.cpu().numpy(), self.indptr.cpu().numpy())
        return sp.csr_array(arrays, shape=(self.n_source, self.n_target))

    def resized(self, n_source: int, n_target: int) -> "Relation":
        """The same edges between more nodes; the new ones have none."""
        if n_source < self.n_source or n_target < self.n_target:
            raise ValueError(f"{self!r} cannot shrink from {self.n_source} × {self.n_target} "
                             f"to {n_source} × {n_target}.")
        end = self.indptr[-1:].expand(n_source - self.n_source)
        return replace(self, n_source=n_source, n_target=n_target, indptr=torch.cat([self.indptr, end]))

    def kept(self, keep: Bool[Tensor, " edges"]) -> "Relation":
        """Only the edges where the mask is true; edges are in row order."""
        indptr = torch.cat([self.indptr.new_zeros(1), keep.cumsum(0, dtype=self.indptr.dtype)])[self.indptr.long()]
        return replace(self, indptr=indptr, indices=self.indices[keep], weight=self.weight[keep])

    def into(self, start: int, end: int | None = None) -> "Relation":
        """Only the edges into the targets from number ``start`` on (up to ``end``), which are renumbered from 0."""
        end = self.n_target if end is None else end
        some = self.kept((self.indices >= start) & (self.indices < end))
        return replace(some, n_target=end - start, indices=some.indices - start)

    def rows(self, sources: Int[Tensor, " rows"]) -> "Relation":
        """Only the edges that leave these sources, which are renumbered in the order given."""
        start, end = self.indptr[sources].long(), self.indptr[sources + 1].long()
        indptr = torch.cat([start.new_zeros(1), (end - start).cumsum(0)])
        row = torch.arange(len(sources), device=start.device).repeat_interleave(end - start)
        at = torch.arange(len(row), device=start.device) + (start - indptr[:-1])[row]
        return replace(self, n_source=len(sources), indptr=indptr.to(self.indptr.dtype), indices=self.indices[at],
                       weight=self.weight[at])

    def contains(self, sources: Int[Tensor, " rows"], targets: Int[Tensor, "rows k"]) -> Bool[Tensor, "rows k"]:
        """Whether there is an edge from each source to each of its targets; false for a target of −1."""
        if not self.n_edges:
            return torch.zeros_like(targets, dtype=torch.bool)
        wanted = sources[:, None] * self.n_target + targets
        at = torch.searchsorted(self._keys, wanted).clamp(max=self.n_edges - 1)
        return (self._keys[at] == wanted) & (targets >= 0)

    @cached_property
    def _keys(self) -> Int[Tensor, " edges"]:
        return self.edges[0] * self.n_target + self.edges[1]

    def reversed(self, name: str) -> "Relation":
        """The same edges the other way round, under another name."""
        return type(self).of(self.target, name, self.source, self.scipy().T).to(self.weight.device)

    def weighted(self, weight: Float[Tensor, " edges"]) -> "Relation":
        """The same edges with other weights."""
        return replace(self, weight=weight)

    def to(self, device: torch.device | str) -> "Relation":
        """The same relation on a device."""
        return replace(self, indptr=self.indptr.to(device), indices=self.indices.to(device),
                       weight=self.weight.to(device))


def csr_tensor(indptr: Tensor, indices: Tensor, weight: Tensor, shape: tuple[int, int]) -> Tensor:
    """A torch CSR matrix; `Relation` has checked the arrays, so torch need not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
        return torch.sparse_csr_tensor(indptr, indices, weight, shape, check_invariants=False)
