"""Correlations in parse trees of real code: Python's own standard library, read by `ast` and `tokenize`.

The paper's main lesson is that latents of one level are far more correlated with each other than with tokens. Here
it meets trees that nobody designed for it. A visible token (a keyword, an operator, NAME, NUMBER or STRING) is a
leaf of height 0; its latents are the syntax nodes above it, each with a type (Call, BinOp, If, ...) and a height, the
longest way down to a token. Only counts leave this module, and no text of the library.

Two symbols of a pair are compared by their mutual information with pairs of the same *stratum* (heights of both,
steps from each up to their lowest common ancestor), less that of pairs that are shuffled within file and stratum:
what a file's own vocabulary makes alike, and most of the bias of counting, go out with it.

**Predicted before anything was measured** (the model's lesson, carried over as it is):

1. Information falls with the tree distance d, from 2 to 8, for pairs of tokens, of a token and a node, and of nodes
   of equal height: the slope of log information against d is negative, with its 95 % interval, for all three.
2. In the model distance alone counts, not the kind of symbol: the three slopes agree within a factor of 1.5, and at
   equal d informations agree within a factor of 3.
3. Of one and the same pair of nodes, of equal height h = 2, 3, 4, their types tell more about each other than one
   type about a token below the other node, and this more than two tokens below; the ratio of the first to the last
   grows with h. At h = 1 a type is little more than a name for its token: no advantage is predicted there.
4. Tuples of token types, clustered by contexts of latents (types of the neighbouring nodes), agree better with the
   type of the node above them than by contexts of tokens (one under each of the same neighbours), at every size of
   the corpus, and get to the accuracy that tokens have at the largest size from at most a quarter of the tuples.
   Against the two tokens that stand beside the tuple the outcome is open: they are a stronger rival, as the model
   has no punctuation. Latents are predicted to win, with less confidence.
"""

from __future__ import annotations
