"""A picture through a network: what ``pyconv run`` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InvalidProblem
from .session import InferenceSession

__all__ = ["classify", "read_picture"]

#: Mean and deviation of each channel that pixels from 0 to 1 are scaled by.
SCALES = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0,) * 3, (1.0,) * 3),
    "bytes": ((0.0,) * 3, (1 / 255,) * 3),
}


def read_picture(path: Path, shape: tuple[int | str | None, ...], size: int, scale: str) -> Any:
    """Return a picture as an input of this shape: (n, c, h, w) or (n, h, w, c), of one or three channels.

    Raises
    ------
    InvalidProblem
        If an image cannot be an input of this shape.
    OSError
        If the picture cannot be read.
    """
    from PIL import Image

    if scale not in SCALES:
        raise InvalidProblem(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    sizes = [length if isinstance(length, int) else None for length in shape]
    last = len(sizes) == 4 and sizes[3] in (1, 3) and sizes[1] not in (1, 3)
    if len(sizes) != 4 or sizes[0] not in (None, 1) or (sizes[3] if last else sizes[1]) not in (None, 1, 3):
        raise InvalidProblem(f"the model's input {shape} is not one image (1, channels, rows, columns)")
    channels, rows, columns = (sizes[3], sizes[1], sizes[2]) if last else (sizes[1], sizes[2], sizes[3])
    with Image.open(path) as opened:
        grey = channels == 1
        image = opened.convert("L" if grey else "RGB")
        pixels = image.resize((columns or size, rows or size), Image.Resampling.BILINEAR)
    mean, deviation = (np.array(numbers[:1] if grey else numbers, np.float32) for numbers in SCALES[scale])
    values = (np.asarray(pixels, np.float32).reshape(rows or size, columns or size, -1) / 255 - mean) / deviation
    return np.ascontiguousarray(values[None] if last else values.transpose(2, 0, 1)[None], np.float32)


def classify(
    model: Path, picture: Path, labels: Path | None, size: int, scale: str, profile: bool
) -> list[tuple[str, tuple[int, ...], list[tuple[str, float]]]]:
    """Return of each output its name, its shape and (class, value) pairs, the largest value first.

    A class is a place of the flattened output, by its label where there are as many.
    """
    session = InferenceSession(model)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].shape is None:
        names = ", ".join(value.name for value in inputs)
        raise InvalidProblem(f"the model must have one input, an image; it has {len(inputs)}: {names}")
    x = read_picture(picture, inputs[0].shape, size, scale)
    if inputs[0].dtype is not None:
        x = x.astype(inputs[0].dtype)
    words = labels.read_text().splitlines() if labels is not None else []
    found = []
    for value, y in zip(session.get_outputs(), session.run(None, {inputs[0].name: x}, profile=profile), strict=True):
        flat = np.asarray(y).reshape(-1)
        order = np.argsort(-flat.astype(np.float64), kind="stable")[:1000]
        named = words if len(words) == flat.size else [str(i) for i in range(flat.size)]
        found.append((value.name, np.shape(y), [(named[i], float(flat[i])) for i in order]))
    return found
