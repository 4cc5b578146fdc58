"""How large an image a backbone sees."""

from __future__ import annotations

from cleave.types import Size


def input_size(image: Size, *, size: int, multiple: int, keep_aspect: bool, max_side: int) -> Size:
    """The size to which an image is resized before it is cut into patches.

    Square, the aspect not kept, as in CutLER (maskcut.py:164), or the short side at `size` and
    the long side at most `max_side`. Both sides are then rounded down to whole patches, as in
    TokenCut (utils.py:3-9); no side is less than one patch.

    Args:
        image: of the original image.
        size: side of the square or short side, pixels.
        multiple: patch size, pixels.

    Example:
        >>> input_size(Size(600, 800), size=480, multiple=14, keep_aspect=False, max_side=800)
        Size(height=476, width=476)
    """
    if not keep_aspect:
        side = max(size // multiple, 1) * multiple
        return Size(side, side)
    short, long = min(image), max(image)
    numerator, denominator = (size, short) if size * long <= max_side * short else (max_side, long)
    # integers: 640 * (480 / 480) must not come out as 639 on some machine
    sides = (side * numerator // denominator for side in image)
    return Size(*(max(side // multiple, 1) * multiple for side in sides))
