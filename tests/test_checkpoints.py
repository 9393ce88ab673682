"""A run that is interrupted anywhere gives, to the last bit, the rows of one that is not."""

import warnings
from pathlib import Path

import pytest
import torch

from rhmlib import checkpoints, experiment_encoder, experiments, provenance, worker
from rhmlib.checkpoints import Checkpoint
from rhmlib.experiment_encoder import EncoderExperiment
from rhmlib.experiment_latent import LatentExperiment
from rhmlib.experiment_split_masks import SplitMasksExperiment
from rhmlib.experiment_synonym_blocks import SynonymBlocksExperiment

torch.set_num_threads(1)
SEEDS = {"grammar_seed": 0, "data_seed": 0, "model_seed": 0, "device": "cpu"}
SMALL = {
    **SEEDS, "v": 4, "m": 2, "L": 2, "n": 20, "width": 16, "batch_size": 16, "steps": 30, "n_evaluations": 2,
    "n_val": 20, "n_test": 20, "n_probe": 20,
}  # fmt: skip
BLOCKS = {**SMALL, "v": 6, "L": 3, "n": 48, "n_val": 60, "objective": "data2vec"}
EXPERIMENTS = [
    EncoderExperiment(**SMALL, objective="data2vec"),
    EncoderExperiment(**SMALL, objective="data2vec", refresh=7),
    EncoderExperiment(**{**SMALL, "n": None}, objective="mlm"),
    EncoderExperiment(**SMALL, objective="data2vec", architecture="transformer", dropout=0.1),
    EncoderExperiment(**SMALL, objective="supervised", stop_at=0.1),
    SynonymBlocksExperiment(**BLOCKS),
    LatentExperiment(**{**SMALL, "L": 3}, objective="stacked", schedule="sequential"),
    SplitMasksExperiment(
        **SEEDS, v=8, m=2, L=3, n=40, width=8, steps=30, n_evaluations=1, own_level=1, own_rate=1.0,
        rest_rate=0.0,
    ),
]  # fmt: skip


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(experiment_encoder, "_CHUNK", 4)
    monkeypatch.setattr(checkpoints, "_INTERVAL", 0.0)
    monkeypatch.setattr(checkpoints, "_SHARE", 1e9)


class Interrupted(BaseException):
    """What no experiment catches, as Ctrl-C."""


def interrupt_at(monkeypatch, number):
    """Stop the process, as it were, right after so many savings."""
    save, saved = Checkpoint.save, []

    def stop(self, state):
        self.interval = 0.0
        if save(self, state):
            saved.append(1)
        if len(saved) == number:
            raise Interrupted

    monkeypatch.setattr(Checkpoint, "save", stop)


@pytest.mark.parametrize("settings", EXPERIMENTS, ids=lambda s: type(s).__name__)
def test_an_interrupted_run_goes_on(settings, tmp_path, monkeypatch):
    path, times = tmp_path / "state.pt", 0
    for number in (2, 4):  # of the savings of a process: before the first evaluation, and after it
        with monkeypatch.context() as patch:
            interrupt_at(patch, number)
            try:
                settings.run(checkpoint=path)
            except Interrupted:
                times += 1
        torch.manual_seed(99)  # another process has another state
    assert times
    assert settings.run(checkpoint=path) == settings.run()


def test_what_was_done_is_not_done_again(tmp_path, monkeypatch):
    path, steps = tmp_path / "state.pt", []
    step = experiment_encoder.Descent.step
    monkeypatch.setattr(
        experiment_encoder.Descent, "step", lambda self, batch: (steps.append(1), step(self, batch))
    )
    with monkeypatch.context() as patch:
        interrupt_at(patch, 5)
        with pytest.raises(Interrupted):
            EXPERIMENTS[0].run(checkpoint=path)
    before = len(steps)
    assert 0 < before < 30
    EXPERIMENTS[0].run(checkpoint=path)
    assert len(steps) == 30


def test_a_damaged_file_is_told_and_the_run_begins_anew(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"PK nothing")
    with pytest.warns(UserWarning, match=r"state\.pt is damaged, so its run begins anew"):
        assert EXPERIMENTS[0].run(checkpoint=path) == EXPERIMENTS[0].run()


def test_it_is_saved_now_and_then(tmp_path):
    never, none = Checkpoint(tmp_path / "a.pt", interval=1e6), Checkpoint(None, interval=0.0)
    assert not never.save(dict)
    assert not none.save(dict)
    assert none.load() is None
    assert not list(tmp_path.iterdir())
    often = Checkpoint(tmp_path / "a.pt", interval=0.0)
    assert often.save(lambda: {"step": 3})
    assert Checkpoint(tmp_path / "a.pt").load() == {"step": 3}


def test_a_state_that_cannot_be_saved_is_told_and_the_run_goes_on(tmp_path, monkeypatch):
    with pytest.warns(UserWarning, match=r"state\.pt could not be saved"):
        rows = EXPERIMENTS[0].run(checkpoint=tmp_path / "gone" / "state.pt")
    assert rows == EXPERIMENTS[0].run()


def test_saving_takes_a_small_part_of_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SHARE", 1e-9)
    state = Checkpoint(tmp_path / "a.pt", interval=0.0)
    assert state.save(dict)
    assert not state.save(dict)


def task(spool):
    values = experiments.config_values(EXPERIMENTS[0])
    config_hash, code = experiments.config_hash("encoder", EXPERIMENTS[0]), experiments.code_hash("encoder")
    return worker.Task("encoder", values, config_hash, code, provenance.commit(), False, str(spool))


def test_a_sweep_goes_on_with_a_run_and_counts_all_its_time(tmp_path, monkeypatch):
    whole = worker.execute(worker.Task(**{**vars(task(tmp_path)), "spool": None})).record
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(Interrupted):
            worker.execute(task(tmp_path))
    [state] = tmp_path.glob("*.pt")
    state.with_suffix(".seconds").write_text("10")
    stranger = tmp_path / f"{task(tmp_path).hash}-{'0' * 12}.pt"
    stranger.write_text("of other code, or another machine")
    assert worker.execute(task(tmp_path)).status == "done"
    [file] = tmp_path.iterdir()  # no checkpoint is left
    record = worker.results.read_record(Path(file))
    assert record.rows == whole.rows
    assert record.provenance["seconds"] > 10


def test_a_run_that_failed_keeps_its_state(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        patch.setitem(globals(), "Interrupted", ArithmeticError)
        assert worker.execute(task(tmp_path)).status == "failed"
    assert list(tmp_path.glob("*.pt"))


def test_states_of_runs_that_are_finished_or_gone_are_deleted(tmp_path):
    for name in ("abc-1.pt", "abc-1.seconds", "def-1.pt"):
        (tmp_path / name).touch()
    worker.results.remove_checkpoints(tmp_path, {"abc"})
    assert [path.name for path in tmp_path.iterdir()] == ["def-1.pt"]


def test_a_state_needs_no_trust(tmp_path, monkeypatch):
    path = tmp_path / "state.pt"
    interrupt_at(monkeypatch, 2)
    with pytest.raises(Interrupted):
        EXPERIMENTS[3].run(checkpoint=path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(Checkpoint(path).load()) >= {"step", "rows", "descent", "masks", "dropout"}
