"""The running module of a layout: an acyclic graph of plain PyTorch layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.errors import NetmorphError
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import Pads
from netmorph.graph.layout import Layout
from netmorph.nn.activations import Activations, build_activation, phi_name
from netmorph.nn.children import NamedChildren
from netmorph.nn.edges import build_edge, is_linear_edge
from netmorph.nn.halo import Halo, halo
from netmorph.nn.norm import Norms, build_norm, norm_kind, norm_name
from netmorph.nn.padding import Fit, fit
from netmorph.nn.weights import load_filters, read_filters


class Step(NamedTuple):
    """One edge of the module, in the order of execution.

    Attributes:
        source: slot of the blob that is read.
        fit: pads or crops it; None where the edge's module does so itself.
        edge: key of the edge's module.
        norm: key of its norm, or None.
        sink: slot of the blob that is written.
        adds: whether the blob already holds a term of its sum.
        act: key of the blob's activation, on the last edge into it, or None.
        spent: slots that no later step reads.
    """

    source: int
    fit: Fit | None
    edge: str
    norm: str | None
    sink: int
    adds: bool
    act: str | None
    spent: tuple[int, ...]


class MorphedModule(nn.Module):
    """A module graph in place of a layer: `x_v = act_v(sum over edges u->v of norm(conv(x_u)))`.

    The sink has no activation and carries the layer's bias. Edges are `nn.Conv1d/2d/3d` or `nn.Linear` children named
    as in the graph, `edges.<edge>`; norms are `norms.<edge>`, activations `acts.<blob>`. At birth, norms in eval mode
    and activations are the identity. Weights are drawn as PyTorch draws a convolution's; `load_filters` sets them.

    It answers for the attributes of the layer it replaces (`in_channels`, `stride`, ... or `in_features`,
    `out_features`), but has no `weight`.

    Args:
        layout: the graph bound to the site.
        bias: whether the sink adds a bias.
        act: activation of every inner blob for which the graph names none: an elementwise activation of torch.nn with
            its settings (`phi_name`), "auto" (ReLU), or None for a linear module. All are parametric (eq. 8).
        norm: norm of every edge for which the graph names none: None, "calibrated", "neutral", "paper", "group" or
            "layer", with settings as `norm_name` reads them.
        device: of the parameters.
        dtype: of the parameters.
        seed: random seed of the initial weights; the global state is not used. None leaves them and the bias as memory
            is, for who sets them all.

    Raises:
        GraphError: if an activation or a norm is unknown.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        layout: Layout,
        *,
        bias: bool = False,
        act: str | None = "auto",
        norm: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        phi_name(act)  # a typing error is one even where no blob or edge uses the name
        norm_name(norm)
        self.layout = layout
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        graph, site, widths = layout.graph, layout.site, layout.widths
        edges, norms, fits = {}, {}, dict[str, Fit | None]()
        self._enter, paddings = _borders(layout)
        for edge in graph.edges:
            spec, padding = layout.specs[edge.name], paddings[edge.name]
            edges[edge.name], own = build_edge(edge, spec, padding, **factory)
            fits[edge.name] = None if own else fit(padding, spec.padding_mode)
            made = None if edge.fixed else build_norm(edge.norm or norm, spec.c_out, site.dims, **factory)
            if made is not None:
                norms[edge.name] = made
        named = graph.activations
        acts = {
            blob: build_activation(named.get(blob, act), widths[blob], site.dims, **factory) for blob in graph.inner
        }
        self.edges = NamedChildren(edges)
        self.norms = Norms(
            norms, {edge.name: str(norm_kind(edge.norm or norm)) for edge in graph.edges if edge.name in norms}
        )
        self.acts = Activations({blob: made for blob, made in acts.items() if made is not None})
        self.register_parameter("bias", nn.Parameter(torch.empty(site.c_out, **factory)) if bias else None)
        self._bias_shape = (-1, *(1,) * site.dims)
        self._unbatched = site.dims + 1 if site.dims else -1
        self._slots = len(graph.blobs)
        self._steps = _steps(layout, self, fits)
        self._answer()
        if seed is not None:
            self.reset_parameters(torch.Generator().manual_seed(seed))

    def _answer(self) -> None:
        """Take on the attributes of the layer that is replaced."""
        site = self.layout.site
        if not site.dims:
            self.in_features, self.out_features = site.c_in, site.c_out
            return
        self.in_channels, self.out_channels, self.groups = site.c_in, site.c_out, site.groups
        self.kernel_size, self.stride, self.dilation = site.kernel, site.stride, site.dilation
        self.padding_mode = site.padding_mode
        symmetric = all(before == after for before, after in site.padding)
        self.padding = tuple(before for before, _ in site.padding) if symmetric else "same"

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse `torch.jit.script`, which reads the code of `forward` and cannot read a graph's."""
        raise NetmorphError(
            f"torch.jit.script cannot compile a morphed module ({self.layout.graph!s:.80})",
            remedies=["torch.export.export(child, (x,)) or torch.jit.trace(child, x)", "collapse it first"],
        )

    def __getattr__(self, name: str) -> Any:
        if name == "weight":
            raise AttributeError(
                "a morphed module has no single weight: its edges have, as module.edges.<edge>.weight; "
                "module.filters() returns them all and netmorph.module_filter(...) the one filter that they amount to"
            )
        return super().__getattr__(name)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the edges' weights and the bias uniformly in ±1/sqrt(fan_in), as `nn.Conv2d` does.

        Norms and slopes stay as they are.

        Args:
            generator: CPU generator of the numbers; None is PyTorch's global one, as for any layer.
        """
        site = self.layout.site
        weights = [getattr(child, "weight", None) for child in self.edges.children()]
        drawn = [(weight, math.prod(weight.shape[1:])) for weight in weights if isinstance(weight, nn.Parameter)]
        if self.bias is not None:
            drawn.append((self.bias, site.c_in // site.groups * site.taps))
        for parameter, fan_in in drawn:
            if not parameter.is_meta:
                bound = 1 / math.sqrt(fan_in)
                parameter.copy_(
                    torch.empty(parameter.shape, dtype=torch.float32, device="cpu").uniform_(
                        -bound, bound, generator=generator
                    )
                )

    def forward(self, input: Tensor) -> Tensor:
        """Run the module.

        The parameter's name is that of PyTorch's layers, which code may call by keyword.

        Args:
            input: (N, c_in, *spatial), or (c_in, *spatial) as the convolution accepts it; (..., c_in) at a linear site.

        Returns:
            What the replaced layer returns, in shape; at birth, in value.
        """
        x = input
        # torch.fx traces with proxies, which are not tensors and cannot be compared: batched, then.
        if isinstance(x, Tensor) and x.dim() == self._unbatched:
            batched: Tensor = self.forward(x.unsqueeze(0))
            return batched.squeeze(0)
        if self._enter is not None:
            x = self._enter(x)
        # Looked up in every call, for a child may be replaced (morphed again, say); by key, which is the fastest.
        children: dict[str, Any] = self._modules
        edges, norms, acts = children["edges"]._modules, children["norms"]._modules, children["acts"]._modules
        blobs: list[Any] = [None] * self._slots
        blobs[0] = x
        for source, fitted, edge, norm, sink, adds, act, spent in self._steps:
            y = blobs[source]
            if fitted is not None:
                y = fitted(y)
            y = edges[edge](y)
            if norm is not None:
                y = norms[norm](y)
            if adds:
                y = blobs[sink] + y
            if act is not None:
                y = acts[act](y)
            blobs[sink] = y
            for slot in spent:
                blobs[slot] = None
        out: Tensor = blobs[-1]
        bias = self.bias
        return out if bias is None else out + bias.view(self._bias_shape).to(out.dtype)

    def load_filters(self, filters: Mapping[str, Filter]) -> None:
        """Copy one filter into each edge's weight, cast to its dtype; all are checked before the first is copied.

        Args:
            filters: by edge; exactly those of the graph. A fixed edge's filter must be what the edge does.

        Raises:
            GraphError: if filters are missing or superfluous, or one does not fit its edge; the message names it.
        """
        load_filters(self.layout, self.edges, filters)

    def filters(self, dtype: torch.dtype = torch.float64) -> dict[str, Filter]:
        """Return the filter of every edge, a copy in `dtype`, fixed edges as depthwise filters.

        The inverse of `load_filters`. Norms, activations and the bias are no part of them.

        Raises:
            GraphError: if an edge's module was replaced by one without such a weight.
        """
        return read_filters(self.layout, self.edges, dtype)

    @property
    def is_linear(self) -> bool:
        """Whether the module is affine as it stands: every slope at 1, no BatchNorm in train mode."""
        return (
            all(_is_one(act, "weight") for act in self.acts.children())
            and all(
                not norm.training if isinstance(norm, _BatchNorm) else _is_one(norm, "slope")
                for norm in self.norms.children()
            )
            and all(
                child.is_linear if isinstance(child, MorphedModule) else is_linear_edge(child)
                for child in self.edges.children()
            )
        )

    def extra_repr(self) -> str:
        """Show the graph and the layer that it replaces."""
        return f"{str(self.layout.graph)!r}, {self.layout.site}, bias={self.bias is not None}" + (
            ", border='halo'" if self._enter is not None else ""
        )


def _borders(layout: Layout) -> tuple[Halo | None, Mapping[str, Pads]]:
    """Return how the source is padded (None: it is not), and by how much each edge pads what it reads."""
    if layout.border == "halo" and layout.site.dims:
        return halo(layout)
    return None, {name: spec.padding for name, spec in layout.specs.items()}


def _is_one(module: nn.Module, slope: str) -> bool:
    """Return whether every slope of a blend is 1; a module that has none is no blend of ours."""
    value = getattr(module, slope, None)
    return isinstance(value, Tensor) and bool((value == 1).all())


def _steps(layout: Layout, module: MorphedModule, fits: Mapping[str, Fit | None]) -> tuple[Step, ...]:
    """Return the edges in the order of execution: by sink, in topological order."""
    graph = layout.graph
    slots = {blob: slot for slot, blob in enumerate(graph.blobs)}
    incoming = graph.incoming
    order = [edge for blob in graph.blobs[1:] for edge in incoming[blob]]
    last = {edge.source: index for index, edge in enumerate(order)}
    steps = []
    for index, edge in enumerate(order):
        siblings = incoming[edge.sink]
        ends = edge is siblings[-1] and edge.sink in module.acts
        steps.append(
            Step(
                slots[edge.source],
                fits[edge.name],
                module.edges.key(edge.name),
                module.norms.key(edge.name) if edge.name in module.norms else None,
                slots[edge.sink],
                edge is not siblings[0],
                module.acts.key(edge.sink) if ends else None,
                (slots[edge.source],) if last[edge.source] == index else (),
            )
        )
    return tuple(steps)
