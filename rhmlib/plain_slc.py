"""Training loops of SLC over one run as one would write them: what the library's replicas are timed against.

`torch.nn.Linear` layers on every patch of the batch; losses are summed, or Jacobian descent is torchjd's
`backward` and `jac_to_grad` with UPGrad. The losses are those of the library.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchjd.aggregation import UPGrad
from torchjd.autojac import backward as jacobian_backward
from torchjd.autojac import jac_to_grad

from rhmlib.experiment_slc import SLCExperiment, _Run
from rhmlib.slc import SLC


class PlainModule(nn.Module):
    """A predictor and a clusterer of one run, from equations (4) and (6)."""

    def __init__(self, s: int, d_h: int, width: int) -> None:
        super().__init__()
        out = s * (s - 1) * s * d_h
        self.s, self.d_h = s, d_h
        self.w1, self.w2, self.w3 = nn.Linear(s * d_h, width), nn.Linear(width, width), nn.Linear(width, out)
        self.v1, self.v2 = nn.Linear(out, width), nn.Linear(width, d_h)

    def predict(self, h: Tensor) -> Tensor:
        """Log-probabilities of the cousins of every patch."""
        patches = h.view(len(h), -1, self.s * self.d_h)
        hidden = self.w3(functional.gelu(self.w2(functional.gelu(self.w1(patches)))))
        shape = (*hidden.shape[:2], self.s, self.s - 1, self.s, self.d_h)
        return functional.log_softmax(hidden.view(shape), dim=-1)  # (B, patches, s, s-1, s, d_h)

    def cluster(self, p: Tensor) -> Tensor:
        """Logits of the codes of every patch."""
        return self.v2(functional.gelu(self.v1(p.flatten(2))))  # (B, patches, d_h)


class PlainSLC(nn.Module):
    """L-1 modules; tokens are (B, length, d_h)."""

    def __init__(self, s: int, L: int, d_h: int, width: int, temperature: float, stop: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PlainModule(s, d_h, width) for _ in range(L - 1))
        self.temperature, self.stop = temperature, stop

    def forward(self, h: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Of each module what it reads, its predictions, its logits and its codes."""
        out = []
        layer: Any
        for layer in self.layers:
            h = h.detach() if self.stop != "none" else h
            log_p = layer.predict(h)
            logits = layer.cluster((log_p.detach() if self.stop == "modules+clusterer" else log_p).exp())
            below, h = h, functional.softmax(logits / self.temperature, -1)
            out.append((below, log_p, logits, h))
        return out


def plain_losses(
    student: PlainSLC,
    teacher: PlainSLC,
    h: Tensor,
    subsets: list[Tensor | None],
    separation: float,
    c: SLCExperiment,
) -> list[Tensor]:
    """The 2(L-1) losses of a batch of one run, for s = 2 and without a prior."""
    outputs = student(h)
    with torch.no_grad():
        references = teacher(h)
    prediction, clustering = [], []
    for (_, log_p, logits, _), (below, ref_p, _, _), subset in zip(outputs, references, subsets, strict=True):
        batch, length, d_h = below.shape
        targets = below.view(batch, length // 4, 2, 2, d_h)  # grandparent, patch, token
        terms = []
        for p in range(2):
            own = log_p[:, p::2, p, 0]  # (B, grandparents, token, d_h)
            terms.append(-(own * targets[:, :, 1 - p]).sum(-1).mean())
        prediction.append(sum(terms) / 2)
        predictions = ref_p.exp().flatten(2).flatten(0, 1)
        q = functional.softmax(logits, -1).flatten(0, 1)
        if subset is not None:
            predictions, q = predictions[subset], q[subset]
        unit = functional.normalize(predictions - predictions.mean(0), dim=1)
        S, overlap = (1 + unit @ unit.T) / 2, q @ q.T
        pull = (functional.relu(S - c.margin) * (1 - overlap)).mean()
        push = ((1 - S) * overlap).mean()
        clustering.append(c.w_sim * pull + separation * push)
    return prediction + clustering


def _copy_weights(slc: SLC, plain: PlainSLC) -> None:
    """Give a plain network the weights of replica 0."""
    module: Any
    for level, module in enumerate(plain.layers):
        theta = torch.cat([slc.predictors[level][0], slc.clusterers[level][0]]).detach()
        for layer in (module.w1, module.w2, module.w3, module.v1, module.v2):
            fan_out, fan_in = layer.weight.shape
            size = fan_in * fan_out
            weight, bias, theta = theta[:size], theta[size : size + fan_out], theta[size + fan_out :]
            layer.weight.data = weight.view(fan_in, fan_out).T.contiguous()
            layer.bias.data = bias.clone()


class PlainLoop:
    """A plain loop over one run, on the strings and with the weights of replica 0.

    Parameters
    ----------
    run : rhmlib.experiment_slc._Run
        The library's, with s = 2 and without a prior.
    """

    def __init__(self, run: _Run) -> None:
        c = run.config
        self.config, self.run = c, run
        self.student = PlainSLC(c.s, c.L, c.codes, c.width, c.temperature, c.stop_gradient).to(run.device)
        _copy_weights(run.student, self.student)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=c.lr, weight_decay=c.weight_decay, eps=c.eps, fused=True
        )
        self.tokens = torch.from_numpy(run.train_samples[0].tokens).long().to(run.device)
        self.aggregator = UPGrad()

    @torch.no_grad()
    def _one_hot(self, strings: Tensor) -> Tensor:
        h = functional.one_hot(self.tokens[strings[0]], self.config.codes)
        return h.to(next(self.student.parameters()).dtype)

    def losses(self, strings: Tensor, separation: float, *subsets: Tensor | None) -> list[Tensor]:
        """The 2(L-1) losses of a batch; `subsets` are the patches of which pairs are made."""
        h = self._one_hot(strings)
        first = [None if subset is None else subset[0] for subset in subsets]
        return plain_losses(self.student, self.teacher, h, first, separation, self.config)

    def step(self, strings: Tensor, separation: float, *subsets: Tensor | None) -> None:
        """One step."""
        losses = self.losses(strings, separation, *subsets)
        self.optimizer.zero_grad()
        if self.config.aggregation == "sum":
            torch.stack(losses).sum().backward()
        else:
            jacobian_backward(losses)
            jac_to_grad(list(self.student.parameters()), self.aggregator)
        self.optimizer.step()
        with torch.no_grad():
            for t, p in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                t.lerp_(p, 1 - self.config.ema)
