"""How alike the contexts of two different latents are: what no number of strings can part."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rhmlib.exact import Floats, contexts
from rhmlib.grammar import Grammar


def latent_likeness(grammar: Grammar, level: int) -> Floats:
    """Similarity of eq. (7) between latents, for a predictor that is exactly right.

    Parameters
    ----------
    grammar : Grammar
    level : int
        Level of the latents, 1 .. L-1. Their tuples are one level below.

    Returns
    -------
    array of float64, shape (v, v)
        In [0, 1]: (1 + cos)/2 of the latents' contexts, all cousins side by side, less the mean context over
        strings. 1 for two latents whose tuples have the same context everywhere: no learner that looks
        at cousins can tell them apart. NaN for latents that occur nowhere, and on the diagonal.

    Raises
    ------
    ValueError
        If `level` is out of range.
    """
    found = contexts(grammar, level - 1, "all")
    vectors = found.parent_contexts
    seen = ~np.isnan(vectors).any(axis=1)
    law = found.parent_law.mean(axis=0)
    centred = vectors - law[seen] @ vectors[seen] / law[seen].sum()
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    likeness = (1 + unit @ unit.T) / 2
    likeness[~seen] = np.nan
    likeness[:, ~seen] = np.nan
    np.fill_diagonal(likeness, np.nan)
    return likeness


def most_alike(table: pd.DataFrame) -> pd.Series:
    """Likeness of the two latents of a level that are most alike, the greatest over levels 1 .. L-1.

    Parameters
    ----------
    table : DataFrame
        Rows with v, m, s, L and grammar_seed.

    Returns
    -------
    Series of float64
        A value a row, for the grammar of that row.
    """
    keys = ["v", "m", "s", "L", "grammar_seed"]
    of = {}
    for v, m, s, L, seed in table[keys].drop_duplicates().itertuples(index=False):
        grammar = Grammar.random(v=int(v), m=int(m), s=int(s), L=int(L), seed=int(seed))
        of[v, m, s, L, seed] = max(np.nanmax(latent_likeness(grammar, level)) for level in range(1, int(L)))
    return pd.Series([of[key] for key in table[keys].itertuples(index=False, name=None)], index=table.index)
