"""Changes to the weights of a recurrent network that keep its function, and canonical forms that undo them.

May import: `rnn_zoos.networks`, `rnn_zoos.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnn_zoos.lazy import lazy_names

if TYPE_CHECKING:
    from rnn_zoos.symmetry.alignment import align
    from rnn_zoos.symmetry.biases import bias_differences, merge_biases
    from rnn_zoos.symmetry.canonical import canonical_form
    from rnn_zoos.symmetry.signed import SignedPermutation

__all__ = ["SignedPermutation", "align", "bias_differences", "canonical_form", "merge_biases"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "rnn_zoos.symmetry.alignment": ("align",),
        "rnn_zoos.symmetry.biases": ("bias_differences", "merge_biases"),
        "rnn_zoos.symmetry.canonical": ("canonical_form",),
        "rnn_zoos.symmetry.signed": ("SignedPermutation",),
    },
)
