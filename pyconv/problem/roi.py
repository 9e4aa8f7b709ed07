"""Boxes on maps, and boxes among themselves."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidProblem
from .base import AXES, FLOATS, ITEM_BYTES, Operand, axes_text, check_addressable, join_sizes, parse_ints

ROI_KINDS = ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool")
ROI_MODES = ("avg", "max")
ROI_MODES_OF_MAXIMA = ("interpolated", "weighted")
#: Samples of a bin along one axis that may be asked for: no more than that is work without end.
MAX_SAMPLING_RATIO = 4096


@dataclass(frozen=True, slots=True)
class RoiProblem:
    """Boxes on maps, each cut into bins, and what becomes of a bin; or the gradient with respect to the maps.

    Parameters
    ----------
    kind : {"roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool"}
        Whether bins have bilinear samples or whole pixels, and whether each bin reads channels of its own ("ps").
    n, c : int
        Images and channels of x.
    boxes : int
        How many there are; which image each is on is data.
    spatial, out_spatial : tuple of int
        Sizes of a map and bins of a box, one entry a spatial axis, (d, h, w) order.
    scale : float
        Pixels of the map per unit of a box's corners.
    sampling_ratio : int
        Samples of a bin along each axis; 0 for as many as the bin covers pixels.
    aligned : bool
        Whether corners are shifted by half a pixel; if not, a box has one pixel at least.
    mode : {"avg", "max"}
    max_of : {"interpolated", "weighted"}
        Whether a maximum is that of samples or of their pixels times weights.
    gradient : bool
        Whether this is the gradient.
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
        Whether channels are the fastest axis in memory.
    """

    kind: str
    n: int
    c: int
    boxes: int
    spatial: tuple[int, ...]
    out_spatial: tuple[int, ...]
    scale: float = 1.0
    sampling_ratio: int = 0
    aligned: bool = False
    mode: str = "avg"
    max_of: str = "interpolated"
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ROI_KINDS:
            raise InvalidProblem(f"kind must be one of {', '.join(ROI_KINDS)}, got {self.kind!r}")
        ranks = (2, 3) if self.kind == "roi_align" else (2,)
        if len(self.spatial) not in ranks or len(self.out_spatial) != len(self.spatial):
            raise InvalidProblem(f"{self.kind} has {ranks} spatial axes, got {self.spatial} -> {self.out_spatial}")
        if min(self.n, self.c, self.boxes, *self.spatial) < 0:
            raise InvalidProblem(f"sizes must not be negative, got n={self.n}, c={self.c}, {self.spatial}")
        if min(self.out_spatial) < 1:
            raise InvalidProblem(f"output_size must be >= 1, got {self.out_spatial}")
        if self.boxes and 0 in self.spatial:
            raise InvalidProblem(f"x has an empty axis, {self.spatial}: there is nothing to sample")
        if self.boxes and not self.n:
            raise InvalidProblem(f"x has no image, boxes has {self.boxes} boxes")
        if not 0 < self.scale < math.inf:
            raise InvalidProblem(f"spatial_scale must be positive and finite, got {self.scale}")
        if not 0 <= self.sampling_ratio <= MAX_SAMPLING_RATIO:
            raise InvalidProblem(
                f"sampling_ratio must be at most {MAX_SAMPLING_RATIO} (0 or -1: adaptive), got {self.sampling_ratio}"
            )
        if self.mode not in ROI_MODES:
            raise InvalidProblem(f"mode must be one of {', '.join(ROI_MODES)}, got {self.mode!r}")
        if self.max_of not in ROI_MODES_OF_MAXIMA:
            raise InvalidProblem(f"max_of must be one of {', '.join(ROI_MODES_OF_MAXIMA)}, got {self.max_of!r}")
        if self.mode == "max" and self.kind != "roi_align":
            raise InvalidProblem("mode is for roi_align")
        if self.dtype not in FLOATS:
            raise InvalidProblem(f"dtype must be one of {', '.join(FLOATS)}, got {self.dtype!r}")
        if self.c % self.slices:
            raise InvalidProblem(
                f"x must have a multiple of {self.slices} channels, {'x'.join(map(str, self.out_spatial))} for each "
                f"of the output's, got {self.c}"
            )
        check_addressable(
            ("x", self.n * self.c * math.prod(self.spatial)),
            ("the output", self.boxes * self.c_out * math.prod(self.out_spatial)),
            ("output_size", max(self.out_spatial) << 24),
        )

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x for its gradient."""
        name = self.kind if self.rank == 2 else f"{self.kind}{self.rank}d"
        return f"{name}-grad-x" if self.gradient else name

    @property
    def slices(self) -> int:
        """Channels of x for each of the output's."""
        return math.prod(self.out_spatial) if self.kind.startswith("ps_") else 1

    @property
    def c_out(self) -> int:
        """Channels of the output."""
        return self.c // self.slices

    @property
    def has_samples(self) -> bool:
        """Whether bins have bilinear samples, not windows of whole pixels."""
        return self.kind.endswith("roi_align")

    @property
    def join(self) -> str:
        """What becomes of a bin: "mean", "max pixel" or "max sample"."""
        if self.kind == "roi_pool":
            return "max pixel"
        if self.mode == "avg":
            return "mean"
        return "max sample" if self.max_of == "interpolated" else "max pixel"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.n, self.c, *self.spatial)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return (self.boxes, self.c_out, *self.out_spatial)

    @property
    def boxes_shape(self) -> tuple[int, ...]:
        """Shape of the boxes: the image's index, the first corners (x first) and the last ones."""
        return (self.boxes, 1 + 2 * self.rank)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The maps and the boxes; of a gradient grad_output and the boxes, and x where maxima are looked for."""
        x = Operand("x", self.x_shape, self.dtype, self.channels_last)
        boxes = Operand("boxes", self.boxes_shape, "f64")
        if not self.gradient:
            return (x, boxes)
        out = Operand("grad_output", self.out_shape, self.dtype, self.channels_last)
        return (out, boxes) if self.join == "mean" else (out, boxes, x)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output, or the gradient."""
        return (Operand("out", self.x_shape if self.gradient else self.out_shape, self.dtype, self.channels_last),)

    @property
    def taps(self) -> tuple[int, ...]:
        """Most pixels of one bin along each axis."""
        if self.has_samples and self.sampling_ratio:
            return tuple(2 * self.sampling_ratio for _ in self.spatial)
        return tuple(size + 2 for size in self.spatial)

    @property
    def samples(self) -> int:
        """Samples of a bin, where that is known; 2 an axis where boxes say it."""
        return int((self.sampling_ratio or 2) ** self.rank)

    @property
    def flops(self) -> int:
        """Operations of the definition: two for each pixel of each sample."""
        pixels = 2**self.rank if self.has_samples else 1
        return 2 * math.prod(self.out_shape) * self.samples * pixels

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in (*self.inputs, *self.outputs))

    def __str__(self) -> str:
        text = f"n{self.n}c{self.c}{axes_text(self.spatial)}-k{self.boxes}to{join_sizes(self.out_spatial)}"
        text += f"-x{self.scale!r}"
        if self.has_samples:
            text += f"-r{self.sampling_ratio}"
        text += f"-{self.dtype}"
        words = (
            (self.aligned, "aligned"),
            (self.mode == "max", f"max_{self.max_of}"),
            (self.channels_last, "channels_last"),
        )
        return text + "".join(f"-{word}" for said, word in words if said)

    @classmethod
    def parse(cls, op: str, text: str) -> RoiProblem:
        """Inverse of ``op`` and ``str``.

        Examples
        --------
        >>> problem = RoiProblem.parse("roi_align", "n1c256h50w68-k1000to7-x0.0625-r2-f32-aligned")
        >>> problem.out_shape, problem.op, str(problem)
        ((1000, 256, 7, 7), 'roi_align', 'n1c256h50w68-k1000to7-x0.0625-r2-f32-aligned')
        """
        name = re.fullmatch(r"((?:ps_)?roi_(?:align|pool))(3d)?(-grad-x)?", op)
        match = re.fullmatch(
            r"n(\d+)c(\d+)((?:[dhw]\d+){2,3})-k(\d+)to([\dx]+)-x([\d.]+(?:e-?\d+)?)(?:-r(\d+))?-(f\d\d)(.*)", text
        )
        if not name or not match:
            raise InvalidProblem(f"{op} {text!r} is not a problem; one looks like n1c256h50w68-k1000to7-x0.0625-r2-f32")
        rank = 3 if name[2] else 2
        axes = re.findall(r"([dhw])(\d+)", match[3])
        if "".join(axis for axis, _ in axes) != AXES[rank]:
            raise InvalidProblem(f"the axes of {text!r} must be {AXES[rank]}")
        found: dict[str, Any] = {}
        for word in filter(None, match[9].split("-")):
            if word in ("aligned", "channels_last"):
                found[word] = True
            elif word.startswith("max_"):
                found |= {"mode": "max", "max_of": word.removeprefix("max_")}
            else:
                raise InvalidProblem(f"{word!r} in {text!r} is no word of a problem of boxes")
        return cls(
            kind=name[1],
            n=int(match[1]),
            c=int(match[2]),
            boxes=int(match[4]),
            spatial=tuple(int(size) for _, size in axes),
            out_spatial=parse_ints(match[5], rank),
            scale=float(match[6]),
            sampling_ratio=int(match[7] or 0),
            gradient=bool(name[3]),
            dtype=match[8],
            **found,
        )


@dataclass(frozen=True, slots=True)
class NmsProblem:
    """Boxes in falling order of their scores, of which those stay that no better one overlaps by too much.

    Parameters
    ----------
    boxes, runs : int
        Boxes, and runs of them that do not suppress each other's.
    threshold : float
        The largest overlap, intersection over union, that stays.
    box_dtype, score_dtype, class_dtype : str
        Of boxes in no order, as GPU kernels take them: the types of the boxes, their scores and, where there are any,
        their classes; boxes of two classes do not suppress each other.
    """

    boxes: int
    runs: int
    threshold: float
    box_dtype: str = ""
    score_dtype: str = ""
    class_dtype: str = ""

    def __post_init__(self) -> None:
        if math.isnan(self.threshold):
            raise InvalidProblem("iou_threshold must be a number, got NaN")
        check_addressable(("the boxes", 64 * self.boxes))

    @property
    def op(self) -> str:
        """The name of the function."""
        return "nms"

    @property
    def dtype(self) -> str:
        """The type that overlaps are computed in."""
        return "f64"

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return 2

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The corners, (x1, y1, x2, y2) in a row each, and the bounds of runs that are independent.

        Of boxes in no order (x1, y1, x2, y2) of each box, the scores, and the classes where there are any.
        """
        if self.box_dtype:
            found = [Operand("boxes", (self.boxes, 4), self.box_dtype)]
            found.append(Operand("scores", (self.boxes,), self.score_dtype))
            if self.class_dtype:
                found.append(Operand("classes", (self.boxes,), self.class_dtype))
            return tuple(found)
        return Operand("boxes", (4, self.boxes), "f64"), Operand("runs", (self.runs + 1,), "i64")

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """One for a box that stays, 0 for others; of boxes in no order those that stay, and how many they are."""
        if self.box_dtype:
            return Operand("out", (self.boxes,), "i64"), Operand("count", (1,), "i64")
        return (Operand("out", (self.boxes,), "u8"),)

    @property
    def flops(self) -> int:
        """Operations where half of the pairs are compared."""
        return 4 * self.boxes * self.boxes // max(1, self.runs)

    @property
    def bytes(self) -> int:
        """Bytes of the boxes and the result."""
        return 33 * self.boxes

    def __str__(self) -> str:
        return f"k{self.boxes}in{self.runs}-over{self.threshold!r}"
