"""Array annotations with shapes: `Float[Array, "B T D"]`.

They are jaxtyping's, checked in the tests. On a machine without jaxtyping they are plain `Array`, so
that synthetic tasks train with jax, flax, optax, orbax, grain and ml-collections alone.
"""

from typing import TYPE_CHECKING

from jax import Array

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Key, Num, UInt32
else:
    try:
        from jaxtyping import Bool, Float, Int, Key, Num, UInt32
    except ImportError:

        class Float:
            """Stands in for jaxtyping's annotation: `Float[Array, "..."]` is `Array`."""

            def __class_getitem__(cls, item: tuple) -> type:
                return item[0]

        Bool = Int = Key = Num = UInt32 = Float

__all__ = ["Array", "Bool", "Float", "Int", "Key", "Num", "UInt32"]
