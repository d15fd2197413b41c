"""Which graph a site becomes, for each kind."""

from __future__ import annotations

from netmorph.filters.geometry import ConvSpec

KINDS = ("simple", "complex")


def notation(kind: str, spec: ConvSpec) -> str:
    """Return the graph of one kind for a site: its kernel on the edges that carry, its groups on every edge.

    Args:
        kind: "simple" is `K > 1 | 1`; "complex" is module (D) of the paper (eq. 6) with the site's kernel.
        spec: geometry of the site; linear ones get kernels of 1, grouped ones (depthwise too) graphs whose edges all
            have the site's groups.
    """
    kernel = "x".join(map(str, spec.kernel)) or "1"
    one = "x".join("1" for _ in spec.kernel) or "1"
    groups = f"*{spec.groups}" if spec.groups > 1 else ""
    if spec.groups > 1 and spec.c_in == spec.c_out == spec.groups:
        groups = "*dw"
    wide, thin = kernel + groups, one + groups
    if kind == "simple":
        return f"{wide} > {thin} | {thin}"
    return f"s-a:{wide}, s-b:{wide}, a-c:{wide}, b-c:{thin}, a-t:{thin}, c-t:{thin}, b-t:{thin}"


def geometry(spec: ConvSpec) -> str:
    """Return the class of a site's geometry, for the tally."""
    if not spec.dims:
        return "linear"
    if spec.groups > 1:
        name = "depthwise" if spec.groups == spec.c_in else "grouped"
    else:
        name = "1x1" if spec.taps == 1 else "conv"
    strided = "strided " if any(step > 1 for step in spec.stride) else ""
    return strided + ("dilated " if any(step > 1 for step in spec.dilation) else "") + name


def work(kind: str, spec: ConvSpec) -> float:
    """Return about how many multiply-accumulates a closed-form solve takes: what the size limit looks at."""
    rows, columns = spec.c_out // spec.groups, spec.c_in // spec.groups
    once = spec.groups * (4.0 * rows**3 + 5.0 * rows**2 * columns * spec.taps)
    return once if kind == "simple" else 2 * once
