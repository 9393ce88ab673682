"""data2vec whose target is cut: without the linear trace of one level, or with those of low levels alone."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from rhmlib.data2vec import Data2Vec
from rhmlib.traces import Parser, Regression, ancestors, one_hot

Part = Literal["whole", "without", "upto"]

# Statistics of a batch are forgotten by this factor: ten batches count.
_MEMORY = 0.9


class CutData2Vec(Data2Vec):
    """data2vec with a target that an oracle, who knows the latents, has cut.

    Parameters
    ----------
    *arguments, **settings
        As :class:`rhmlib.data2vec.Data2Vec` takes them.
    parser : Parser
    part : {"whole", "without", "upto"}
        "without": from every target is taken its mean given the level-`cut_level` ancestor, so that no
        linear map tells that latent from the target. "upto": of the target is kept what the ancestors of
        levels 0 .. `cut_level` explain linearly, B_0 e_0 + .. + B_l e_l, and no residual.
    cut_level : int
        0 .. L-1.

    Notes
    -----
    The coefficients are least squares on all leaves of the last batches, which the teacher sees whole.
    A linear classifier of a latent is at chance exactly if the means given the latent are all equal
    (Belrose et al. 2023, arXiv 2306.03819), which is what "without" makes them.
    """

    def __init__(
        self, *arguments: Any, parser: Parser, part: Part = "whole", cut_level: int = 0, **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        if part not in get_args(Part):
            raise ValueError(f"part must be one of {get_args(Part)}. Found part={part!r}.")
        if not 0 <= cut_level < self.encoder.L:
            raise ValueError(
                f"cut_level must be in 0..L-1 = {self.encoder.L - 1}. Found cut_level={cut_level}."
            )
        self.parser, self.part, self.cut_level = parser, part, cut_level
        self.regression = Regression(_MEMORY)

    def whole_targets(self, tokens: Tensor) -> Tensor:
        """The teacher's targets at all leaves, uncut, shape (B s**L, width)."""
        at = torch.arange(tokens.numel(), device=tokens.device)
        with torch.no_grad():
            return self._target(self.teacher.encode(tokens), at, self.target_levels)

    def cut(self, targets: Tensor, tokens: Tensor, *, learn: bool) -> Tensor:
        """Cut targets of all leaves of some strings.

        Parameters
        ----------
        targets : Tensor, shape (B s**L, width)
        tokens : Tensor of int64, shape (B, s**L)
        learn : bool
            Whether the coefficients are fitted to these targets too.
        """
        if self.part == "whole":
            return targets
        at = torch.arange(tokens.numel(), device=tokens.device)
        symbols = ancestors(self.parser(tokens, self.cut_level), at)
        chosen = symbols[:, -1:] if self.part == "without" else symbols
        inputs = one_hot(chosen, self.encoder.v)
        if learn:
            self.regression.update(inputs, targets)
        trace = self.regression.trace(inputs)
        return targets - trace if self.part == "without" else self.regression.mean_out + trace

    @torch.no_grad()
    def targets(self, tokens: Tensor, at: Tensor) -> Tensor:
        """Targets at leaves, cut, shape (M, width)."""
        if self.part == "whole":
            return super().targets(tokens, at)
        return self.cut(self.whole_targets(tokens), tokens, learn=self.training)[at]
