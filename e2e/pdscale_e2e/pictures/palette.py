"""Pictures with few colours: a third of the bytes, in a repository that keeps each of them for ever."""

import io
from typing import Final

from PIL import Image

SHADES: Final = 64  # enough for twelve curves, or a page's badges, with smooth edges


def smaller(png: bytes) -> bytes:
    """The same picture in ``SHADES`` colours, without dither, which would blur text and does not compress."""
    out = io.BytesIO()
    few = Image.open(io.BytesIO(png)).convert("RGB").quantize(SHADES, dither=Image.Dither.NONE)
    few.save(out, format="png", optimize=True)
    return out.getvalue()
