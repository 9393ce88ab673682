"""What objectives are called in tables and figures, and how they are drawn."""

from __future__ import annotations

from collections.abc import Mapping

from rhmlib.figures import LEARNER_COLORS

# What is shown, in this order, and what each is called.
NAMES = {
    "latents_all": "ILC",
    "lifted": "ILC, a latent given its siblings",
    "slc": "SLC",
    "data2vec": "data2vec",
    "multiscale": "data2vec, a head a level",
    "stacked": "stack of data2vecs",
    "clapp": "local contrast",
    "mlm": "masked tokens",
    "ntp": "next token",
    "supervised": "supervised",
    "pooled": "token ILC, neighbours pooled",
    "conditional": "token ILC, neighbours cell by cell",
    "tokens_all": "token ILC",
}
# What each predicts: legends of many are grouped by it.
PREDICTED: Mapping[str, tuple[str, ...]] = {
    "latents": ("latents_all", "lifted", "slc", "data2vec", "multiscale", "stacked", "clapp"),
    "tokens": ("mlm", "ntp", "pooled", "conditional", "tokens_all"),
    "labels": ("supervised",),
}
# Colour and marker of each objective: those that predict latents are round, tokens square, labels a diamond.
LOOKS: Mapping[str, tuple[str, str]] = {
    "latents_all": (LEARNER_COLORS["ilc"], "o"),
    "lifted": ("#56B4E9", "v"),
    "slc": (LEARNER_COLORS["slc"], "o"),
    "data2vec": (LEARNER_COLORS["data2vec"], "o"),
    "multiscale": ("#000000", "o"),
    "stacked": ("#7F3C8D", "o"),
    "clapp": ("0.35", "o"),
    "mlm": (LEARNER_COLORS["tokens"], "s"),
    "ntp": ("#7A7A00", "s"),
    "supervised": (LEARNER_COLORS["supervised"], "D"),
    "pooled": ("#D81B60", "<"),
    "conditional": ("#582800", ">"),
    "tokens_all": ("#B03A2E", "^"),
}
