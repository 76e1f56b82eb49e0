"""Array types at the public borders (checked in the tests)."""

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

__all__ = ["Array", "Bool", "Float", "Int", "Key"]

Key = PRNGKeyArray
