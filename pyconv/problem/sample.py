"""Maps sampled at places, and the places of an affine transform."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidProblem
from .base import ITEM_BYTES, Operand, axes_text, check_addressable, check_floats, join_sizes

#: Elements of x that a sample has along each axis.
GRID_MODES = {"nearest": 1, "bilinear": 2, "bicubic": 4}
GRID_PADDING_MODES = ("zeros", "border", "reflection")


@dataclass(frozen=True, slots=True)
class GridSampleProblem:
    """Maps sampled at places that are data, or a gradient of it.

    Parameters
    ----------
    n, c : int
    spatial, out_spatial : tuple of int
        Sizes of a map, and of the grid of places; two or three axes.
    mode : {"bilinear", "nearest", "bicubic"}
    padding_mode : {"zeros", "border", "reflection"}
        What a place outside the map stands for.
    align_corners : bool
        Whether -1 and 1 are the centres of the outermost elements, or their outer edges.
    argument : {"", "x", "grid"}
        With respect to what this is the gradient, if it is one.
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
        Whether channels are the fastest axis of x in memory.
    """

    n: int
    c: int
    spatial: tuple[int, ...]
    out_spatial: tuple[int, ...]
    mode: str = "bilinear"
    padding_mode: str = "zeros"
    align_corners: bool = False
    argument: str = ""
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if len(self.spatial) not in (2, 3) or len(self.out_spatial) != len(self.spatial):
            raise InvalidProblem(f"grid_sample has 2 or 3 spatial axes, got {self.spatial} -> {self.out_spatial}")
        if self.mode not in GRID_MODES:
            raise InvalidProblem(f"mode must be one of {', '.join(GRID_MODES)}, got {self.mode!r}")
        if self.mode == "bicubic" and len(self.spatial) != 2:
            raise InvalidProblem("mode 'bicubic' is for 2 spatial axes, x has 3")
        if self.padding_mode not in GRID_PADDING_MODES:
            raise InvalidProblem(
                f"padding_mode must be one of {', '.join(GRID_PADDING_MODES)}, got {self.padding_mode!r}"
            )
        if self.argument not in ("", "x", "grid"):
            raise InvalidProblem(f"argument must be '', 'x' or 'grid', got {self.argument!r}")
        if min(self.n, self.c, *self.out_spatial) < 0 or min(self.spatial) < 1:
            raise InvalidProblem(f"x must have a pixel, got n={self.n}, c={self.c}, {self.spatial}")
        check_floats(self.dtype)
        check_addressable(
            ("x", math.prod(self.x_shape)),
            ("the output", math.prod(self.out_shape)),
            ("grid", math.prod(self.grid_shape)),
        )

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x or -grad-grid for its gradients."""
        return f"grid_sample-grad-{self.argument}" if self.argument else "grid_sample"

    @property
    def taps(self) -> int:
        """Elements of x that a sample has along each axis."""
        return GRID_MODES[self.mode]

    @property
    def points(self) -> int:
        """Places of an image."""
        return math.prod(self.out_spatial)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.n, self.c, *self.spatial)

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Shape of the places: (x, y) or (x, y, z) each."""
        return (self.n, *self.out_spatial, self.rank)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return (self.n, self.c, *self.out_spatial)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The maps and the places; of a gradient grad_output, x where it is needed, and the places."""
        x = Operand("x", self.x_shape, self.dtype, self.channels_last)
        out = Operand("grad_output", self.out_shape, self.dtype, self.channels_last)
        grid = Operand("grid", self.grid_shape, self.dtype)
        return {"": (x, grid), "x": (out, grid), "grid": (out, x, grid)}[self.argument]

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output, or the gradient."""
        if self.argument == "grid":
            return (Operand("out", self.grid_shape, self.dtype),)
        shape = self.x_shape if self.argument else self.out_shape
        return (Operand("out", shape, self.dtype, self.channels_last),)

    @property
    def flops(self) -> int:
        """Operations of the definition: two for each element of a sample."""
        return int(2 * math.prod(self.out_shape) * self.taps**self.rank)

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in (*self.inputs, *self.outputs))

    def __str__(self) -> str:
        text = f"n{self.n}c{self.c}{axes_text(self.spatial)}-at{join_sizes(self.out_spatial)}"
        text += f"-{self.mode}-{self.padding_mode}-{self.dtype}"
        words = ((self.align_corners, "align_corners"), (self.channels_last, "channels_last"))
        return text + "".join(f"-{word}" for said, word in words if said)


@dataclass(frozen=True, slots=True)
class AffineGridProblem:
    """The places of affine transforms of a grid, or the gradient with respect to the transforms.

    Parameters
    ----------
    n : int
        Transforms.
    spatial : tuple of int
        Sizes of the grid; two or three axes.
    align_corners : bool
        Whether the outermost places are -1 and 1, or half an element inside.
    gradient : bool
    dtype : {"f16", "f32", "f64"}
    """

    n: int
    spatial: tuple[int, ...]
    align_corners: bool = False
    gradient: bool = False
    dtype: str = "f32"

    def __post_init__(self) -> None:
        if len(self.spatial) not in (2, 3):
            raise InvalidProblem(f"affine_grid has 2 or 3 spatial axes, got {self.spatial}")
        if self.n < 0 or min(self.spatial) < 1:
            raise InvalidProblem(f"sizes must be >= 1, got n={self.n}, {self.spatial}")
        check_floats(self.dtype)
        check_addressable(("the grid", math.prod(self.grid_shape)))

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def op(self) -> str:
        """The name of the function, and -grad-theta for its gradient."""
        return "affine_grid-grad-theta" if self.gradient else "affine_grid"

    @property
    def theta_shape(self) -> tuple[int, ...]:
        """Shape of the transforms."""
        return (self.n, self.rank, self.rank + 1)

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Shape of the places."""
        return (self.n, *self.spatial, self.rank)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The transforms, or grad_output."""
        if self.gradient:
            return (Operand("grad_output", self.grid_shape, self.dtype),)
        return (Operand("theta", self.theta_shape, self.dtype),)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The places, or the gradient."""
        return (Operand("out", self.theta_shape if self.gradient else self.grid_shape, self.dtype),)

    @property
    def flops(self) -> int:
        """Operations of the definition."""
        return 2 * (self.rank + 1) * math.prod(self.grid_shape)

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in (*self.inputs, *self.outputs))

    def __str__(self) -> str:
        text = f"n{self.n}{axes_text(self.spatial)}-{self.dtype}"
        return text + ("-align_corners" if self.align_corners else "")
