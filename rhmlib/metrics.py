"""How well learned codes agree with true latents, up to a renaming of the codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment


def contingency(codes: ArrayLike, latents: ArrayLike) -> NDArray[np.int64]:
    """Count how often each code meets each latent.

    Parameters
    ----------
    codes, latents : arrays of non-negative int of one shape

    Returns
    -------
    array of int64, shape (max code + 1, max latent + 1)

    Raises
    ------
    ValueError
        If the shapes differ, or an array is empty, not of integers, or negative.
    """
    codes, latents = np.asarray(codes), np.asarray(latents)
    if codes.shape != latents.shape or codes.size == 0:
        raise ValueError(
            "codes and latents must be non-empty and of one shape. "
            f"Found shapes {codes.shape} and {latents.shape}."
        )
    for name, array in (("codes", codes), ("latents", latents)):
        if array.dtype.kind not in "iu" or array.min() < 0:
            raise ValueError(
                f"{name} must hold non-negative integers. "
                f"Found dtype {array.dtype}, least value {array.min()}."
            )
    rows, columns = int(codes.max()) + 1, int(latents.max()) + 1
    cell = codes.reshape(-1).astype(np.intp) * columns
    cell += latents.reshape(-1)
    return np.bincount(cell, minlength=rows * columns).reshape(rows, columns)


def hungarian_accuracy(codes: ArrayLike, latents: ArrayLike) -> float:
    """Fraction of positions that agree under the best one-to-one matching of codes to latents.

    Parameters
    ----------
    codes, latents : arrays of non-negative int of one shape

    Returns
    -------
    float
        In (0, 1]; 1 exactly if the codes are the latents, renamed.

    References
    ----------
    Appendix C.3 (Kuhn-Munkres matching).
    """
    table = contingency(codes, latents)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def majority_accuracy(codes: ArrayLike, latents: ArrayLike) -> float:
    """Fraction of positions that agree when each code stands for its most frequent latent.

    Splitting one latent over several codes costs nothing here, so read it beside
    :func:`hungarian_accuracy` and :func:`codes_used`.
    """
    table = contingency(codes, latents)
    return float(table.max(axis=1).sum() / table.sum())


def codes_used(codes: ArrayLike) -> int:
    """Return the number of different codes that occur."""
    return int(np.unique(np.asarray(codes)).size)


def level_metrics(codes: ArrayLike, latents: ArrayLike) -> dict[str, Any]:
    """Return Hungarian accuracy, majority accuracy and codes used as one row's columns."""
    return {
        "hungarian_accuracy": hungarian_accuracy(codes, latents),
        "majority_accuracy": majority_accuracy(codes, latents),
        "codes_used": codes_used(codes),
    }
