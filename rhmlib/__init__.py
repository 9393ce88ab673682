"""The Random Hierarchy Model and learners of its latents.

Names are loaded when they are first used, so that the parts that need numpy alone import
without torch or scikit-learn.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rhmlib.grammar import Grammar, check_shape, symbol_dtype
    from rhmlib.ilc import IterativeLatentClustering
    from rhmlib.metrics import codes_used, hungarian_accuracy, majority_accuracy
    from rhmlib.sampling import Sample, SampleStream, resample_rules, sample, sample_unique
    from rhmlib.token_ilc import TokenILC

# Public name -> the module where it lives.
EXPORTS = {
    "Grammar": "grammar",
    "IterativeLatentClustering": "ilc",
    "Sample": "sampling",
    "SampleStream": "sampling",
    "TokenILC": "token_ilc",
    "check_shape": "grammar",
    "codes_used": "metrics",
    "hungarian_accuracy": "metrics",
    "majority_accuracy": "metrics",
    "resample_rules": "sampling",
    "sample": "sampling",
    "sample_unique": "sampling",
    "symbol_dtype": "grammar",
}

__all__ = [
    "Grammar",
    "IterativeLatentClustering",
    "Sample",
    "SampleStream",
    "TokenILC",
    "__version__",
    "check_shape",
    "codes_used",
    "hungarian_accuracy",
    "majority_accuracy",
    "resample_rules",
    "sample",
    "sample_unique",
    "symbol_dtype",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("rhmlib")
    if name not in EXPORTS:
        raise AttributeError(f"module 'rhmlib' has no attribute {name!r}")
    value = getattr(import_module(f"rhmlib.{EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
