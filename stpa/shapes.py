"""Shape annotations for arrays: jaxtyping's where it is installed, inert ones elsewhere.

The numerics import on machines that have only torch, timm and numpy. Shapes are checked
in the test run alone, where jaxtyping and beartype are present.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float16, Int, UInt8
else:
    try:
        from jaxtyping import Bool, Float, Float16, Int, UInt8
    except ImportError:

        class _Unchecked:
            def __class_getitem__(cls, item):
                array, _shape = item
                return array

        Bool = Float = Float16 = Int = UInt8 = _Unchecked

__all__ = ["Bool", "Float", "Float16", "Int", "UInt8"]
