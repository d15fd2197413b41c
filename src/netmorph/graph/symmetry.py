"""What an activation does to x and -x, which decides how a module can be born with it (beyond the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from netmorph.errors import GraphError, did_you_mean

Birth = Literal["slope", "pair", "zero", "cancel"]
BIRTHS: tuple[str, ...] = get_args(Birth)


@dataclass(frozen=True)
class Symmetry:
    """How an activation phi acts on both signs of its input.

    Attributes:
        odd: c where `phi(x) - phi(-x) = c x` for every x, as for ReLU, GELU and SiLU (c = 1); None where that
            difference is not linear, as for ELU and tanh.
        sides: (p, s) where phi is `p x` above 0 and `s x` below, as ReLU (1, 0) and LeakyReLU (1, slope) are; None
            where it is no such function.
    """

    odd: float | None = None
    sides: tuple[float, float] | None = None


def check_birth(birth: str, known: tuple[str, ...] = BIRTHS) -> None:
    """Raise an error if a birth is unknown.

    Raises:
        GraphError: if the birth is unknown; the message suggests the nearest name.
    """
    if birth not in known:
        raise GraphError(
            f"expected a birth of {', '.join(known)}, got {birth!r:.80}", remedies=did_you_mean(birth, known)
        )
