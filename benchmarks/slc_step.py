"""What a training step of SLC costs, against one-run loops and against the core's matrix products.

    python benchmarks/slc_step.py [--seconds 1.0]

Each line is a configuration of the same training (v=8, m=4, batch 32): milliseconds of processor time
a replica and step, and how many times that of the library's R = 8 it is. The rivals are loops over one
run as one would write them: `torch.nn.Linear` layers on every patch of the batch; losses are summed, or
Jacobian descent is torchjd's `backward` and `jac_to_grad` with UPGrad. They compute the same losses as
the library (checked first).
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchjd.aggregation import UPGrad
from torchjd.autojac import backward as jacobian_backward
from torchjd.autojac import jac_to_grad

from rhmlib.experiment_slc import SLCExperiment, _Run
from rhmlib.slc import SLC

BATCH, EMA, LR = 32, 0.99, 5e-3


# ---------------------------------------------------------------- the plain one-run network


class Module(nn.Module):
    """A predictor and a clusterer of one run, from equations (4) and (6)."""

    def __init__(self, s: int, d_h: int, width: int) -> None:
        super().__init__()
        out = s * (s - 1) * s * d_h
        self.s, self.d_h = s, d_h
        self.w1, self.w2, self.w3 = nn.Linear(s * d_h, width), nn.Linear(width, width), nn.Linear(width, out)
        self.v1, self.v2 = nn.Linear(out, width), nn.Linear(width, d_h)

    def predict(self, h: Tensor) -> Tensor:
        patches = h.view(len(h), -1, self.s * self.d_h)
        hidden = self.w3(functional.gelu(self.w2(functional.gelu(self.w1(patches)))))
        shape = (*hidden.shape[:2], self.s, self.s - 1, self.s, self.d_h)
        return functional.log_softmax(hidden.view(shape), dim=-1)  # (B, patches, s, s-1, s, d_h)

    def cluster(self, p: Tensor) -> Tensor:
        return self.v2(functional.gelu(self.v1(p.flatten(2))))  # (B, patches, d_h)


class Plain(nn.Module):
    """L-1 modules; tokens are (B, length, d_h)."""

    def __init__(self, s: int, L: int, d_h: int, width: int, temperature: float, stop: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Module(s, d_h, width) for _ in range(L - 1))
        self.temperature, self.stop = temperature, stop

    def forward(self, h: Tensor) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        out = []
        for layer in self.layers:
            h = h.detach() if self.stop != "none" else h
            log_p = layer.predict(h)
            logits = layer.cluster((log_p.detach() if self.stop == "modules+clusterer" else log_p).exp())
            below, h = h, functional.softmax(logits / self.temperature, -1)
            out.append((below, log_p, logits, h))
        return out


def plain_losses(
    student: Plain,
    teacher: Plain,
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


def copy_weights(slc: SLC, plain: Plain) -> None:
    """Give a plain network the weights of replica 0."""
    for level, module in enumerate(plain.layers):
        theta = torch.cat([slc.predictors[level][0], slc.clusterers[level][0]]).detach()
        for layer in (module.w1, module.w2, module.w3, module.v1, module.v2):
            fan_out, fan_in = layer.weight.shape
            size = fan_in * fan_out
            weight, bias, theta = theta[:size], theta[size : size + fan_out], theta[size + fan_out :]
            layer.weight.data = weight.view(fan_in, fan_out).T.contiguous()
            layer.bias.data = bias.clone()


class PlainLoop:
    """The plain loop over one run, on the strings and with the weights of replica 0."""

    def __init__(self, run: _Run, aggregation: str) -> None:
        c = run.config
        self.config, self.aggregation, self.run = c, aggregation, run
        self.student = Plain(c.s, c.L, c.codes, c.width, c.temperature, c.stop_gradient)
        copy_weights(run.student, self.student)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=LR, fused=True)
        self.tokens = torch.from_numpy(run.train_samples[0].tokens).long()
        self.aggregator = UPGrad()

    def losses(self, strings: Tensor, separation: float, *subsets: Tensor | None) -> list[Tensor]:
        h = functional.one_hot(self.tokens[strings[0]], self.config.codes)
        h = h.to(self.student.layers[0].w1.weight.dtype)
        first = [None if subset is None else subset[0] for subset in subsets]
        return plain_losses(self.student, self.teacher, h, first, separation, self.config)

    def step(self, strings: Tensor, separation: float, *subsets: Tensor | None) -> None:
        losses = self.losses(strings, separation, *subsets)
        self.optimizer.zero_grad()
        if self.aggregation == "sum":
            sum(losses).backward()
        else:
            jacobian_backward(losses)
            jac_to_grad(list(self.student.parameters()), self.aggregator)
        self.optimizer.step()
        with torch.no_grad():
            for t, p in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                t.lerp_(p, 1 - EMA)


# ---------------------------------------------------------------- timing


def milliseconds(step: Callable[[], None], seconds: float) -> float:
    """Least processor time of a step over several rounds: other programs share the machine."""
    for _ in range(5):
        step()
    rounds, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(rounds) < 3:
        start = time.process_time()
        for _ in range(10):
            step()
        rounds.append((time.process_time() - start) / 10)
    return 1e3 * min(rounds)


def matmul_rate(seconds: float) -> float:
    """Floating-point operations a second of large products on one core."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / (1e-3 * milliseconds(lambda: torch.mm(a, a), seconds))


def operations(run: _Run) -> float:
    """Floating-point operations of the layers' products in a step: student thrice, teacher once."""
    c, listed = run.config, run.patches.listed
    tables = [run.patches.symbols, *run.patches.children]
    modules = sum(p[0].numel() for p in run.student.parameters()) / (c.L - 1)
    rows = [
        tables[level].shape[1] if level < listed else BATCH * c.s ** (c.L - level - 1)
        for level in range(c.L - 1)
    ]
    return 2 * modules * sum(rows) * 4 * c.n_replicas


def prepare(L: int, replicas: int, width: int, stop: str, aggregation: str) -> _Run:
    return _Run(
        SLCExperiment(
            v=8,
            m=4,
            s=2,
            L=L,
            n=4096,
            n_replicas=replicas,
            width=width,
            stop_gradient=stop,
            ema=EMA,
            lr=LR,
            aggregation=aggregation,
            prior=0.0,
            device="cpu",
            grammar_seed=0,
            data_seed=0,
            model_seed=0,
            n_val=10,
            n_test=10,
        )
    )


def timed(run: _Run, step: Callable[..., None], seconds: float) -> float:
    batches = [batch for _ in range(4) for batch in run.batches(64)]
    position = iter(range(10**9))
    return milliseconds(lambda: step(*batches[next(position) % len(batches)]), seconds)


def check(L: int) -> None:
    """The plain loop and the library compute the same losses."""
    run = prepare(L, 2, 128, "none", "sum")
    # In double precision: at the start predictions are so alike that their similarities need it.
    for network in (run.student.double(), run.trainer.teacher.double()):
        network.products = torch.float64
    run.visible = run.visible.double()
    plain = PlainLoop(run, "sum")
    plain.student.double(), plain.teacher.double()
    batch = next(run.batches(1))
    ours = run._losses(run.student, run.trainer.teacher, *batch)[0]
    theirs = torch.stack(plain.losses(*batch))
    assert torch.allclose(ours, theirs, atol=1e-9), (ours, theirs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="time spent on each line")
    seconds = parser.parse_args().seconds
    torch.set_num_threads(1)
    rate = matmul_rate(seconds)
    print(f"large matrix products: {rate / 1e9:.0f} GFLOP/s on one core\n")
    for width in (64, 128):
        for L in (3, 4):
            check(L)
            report(L, width, rate, seconds)


def report(L: int, width: int, rate: float, seconds: float) -> None:
    lines, limits = [], {}
    for stop, aggregation in (("modules+clusterer", "sum"), ("none", "sum"), ("none", "upgrad")):
        for replicas in (1, 8):
            run = prepare(L, replicas, width, stop, aggregation)
            cost = timed(run, run.trainer.step, seconds) / replicas
            limits[stop, aggregation, replicas] = 1e3 * operations(run) / rate / replicas
            lines.append((f"library, R = {replicas}", stop, aggregation, cost))
        run = prepare(L, 1, width, stop, aggregation)
        lines.append(
            ("plain one-run loop", stop, aggregation, timed(run, PlainLoop(run, aggregation).step, seconds))
        )
    print(f"L = {L}, width {width}")
    print(f"  {'':20s} {'stop-gradient':18s} {'losses':7s} {'ms':>7s}  times R = 8")
    for name, stop, aggregation, cost in lines:
        base = next(x[3] for x in lines if x[0].endswith("8") and x[1:3] == (stop, aggregation))
        print(f"  {name:20s} {stop:18s} {aggregation:7s} {cost:7.2f}  {cost / base:.1f}")
    limit = limits["none", "sum", 8]
    print(f"  matrix products of the layers alone, at the rate above, sum of losses: {limit:.2f} ms\n")


if __name__ == "__main__":
    main()
