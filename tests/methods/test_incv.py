"""INCV: its formulas, its rounds of selection, its training on what was selected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_runs import small_spec, stopped_after

from noisybench.methods.incv import INCV, discard_ratio, rate_of_selected, selection_factor
from noisybench.train.setup import load_subset, noisy_labels
from noisybench.train.trainer import train

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "schedules_by_hand.json").read_text())
DIGITS = {"dataset.train_subset": None, "dataset.test_subset": None, "model.width": 256, "training.epochs": 20}


@pytest.mark.parametrize("case", REFERENCE["incv_noise_ratio_from_agreement"], ids=str)
def test_ratios_are_the_published_ones(case):
    rate, num_classes = case["eval_ratio"], case["num_classes"]
    assert discard_ratio(rate) == pytest.approx(case["discard_ratio"], rel=1e-9)
    assert rate_of_selected(rate, num_classes, True) == pytest.approx(case["noise_ratio_selected_sym"], rel=1e-9)
    assert rate_of_selected(rate, num_classes, False) == pytest.approx(case["noise_ratio_selected_asym"], rel=1e-9)


def test_learning_rates_of_the_selection_fall_after_the_published_epochs():
    factors = [selection_factor(float(e), 50) for e in range(50)]
    assert factors == [1.0] * 21 + [0.5] * 10 + [0.25] * 10 + [0.1] * 9
    assert selection_factor(20.9, 50) == 1.0


def watched(changes, store, folder, **options):
    """The algorithm after a run, and a copy of what stood in its state at the begin of each phase."""
    seen = []
    begin = INCV.begin_phase

    def begin_phase(self, number, phase):
        begin(self, number, phase)
        network = self.networks[0] if self.networks else self.selector
        seen.append(
            {
                "algorithm": self,
                "name": phase.name,
                "selected": self.selected.clone(),
                "candidates": self.candidates.clone(),
                "halves": [half.clone() for half in self.halves],
                "weights": [p.detach().clone() for p in network.parameters()],
            }
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(INCV, "begin_phase", begin_phase)
        record = train(small_spec({"method.algorithm": {"name": "incv", **options}} | changes), store, folder)
    return seen, record["result"]


def test_rounds_split_what_is_left_and_start_from_the_same_weights(store, folder):
    changes = {"dataset.validation": 0.1}
    seen, result = watched(changes, store, folder, select_epochs=3, rounds=2)
    assert [phase["name"] for phase in seen] == ["round 1a", "round 1b", "round 2a", "round 2b", "train"]
    assert result["epochs"] == 4 * 3 + 3
    task = seen[0]["algorithm"].task
    index = torch.zeros(300, dtype=torch.bool)
    index[task.index] = True
    assert torch.equal(seen[0]["candidates"], index)
    assert not seen[1]["selected"].any()  # found samples move after the second half only
    for first, second in ((seen[0], seen[1]), (seen[2], seen[3])):
        together = torch.cat(first["halves"])
        assert torch.equal(together.sort().values, first["candidates"].nonzero().flatten())
        assert abs(len(first["halves"][0]) - len(first["halves"][1])) <= 1
        assert all(torch.equal(a, b) for a, b in zip(first["halves"], second["halves"], strict=True))
    for phase in seen[1:4]:
        assert all(torch.equal(a, b) for a, b in zip(seen[0]["weights"], phase["weights"], strict=True))
    assert seen[2]["selected"].any()
    assert not (seen[2]["selected"] & seen[2]["candidates"]).any()
    assert (seen[4]["selected"] | ~seen[2]["selected"]).all()  # nothing leaves S
    assert not ((seen[4]["selected"] | seen[4]["candidates"]) & ~index).any()  # the hold-out stays out
    algorithm = seen[4]["algorithm"]
    assert len(algorithm.task.models) == 2  # the selector was let go
    assert len(algorithm.task.optimizers) == 2


def test_what_is_found_and_discarded_follows_from_the_answers(store, folder):
    """The first half's conclusion, recomputed from the network's answers."""
    told = []
    conclude = INCV._conclude

    def watching(self, number):
        if number == 0:
            self.selector.load_state_dict(self.best)
            asked, logits = self._asked(0)
            told.append((asked, logits, self.task.labels[asked]))
        conclude(self, number)
        if number == 0:
            told.append((self.found.clone(), self.dropped.clone(), self.rate))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(INCV, "_conclude", watching)
        train(small_spec({"method.algorithm": {"name": "incv", "select_epochs": 4}}), store, folder)
    (asked, logits, labels), (found, dropped, rate) = told
    assert len(asked) == 150
    agrees = logits.argmax(dim=1) == labels
    assert sorted(asked[agrees].tolist()) == found.nonzero().flatten().tolist()
    agreement = float(agrees.double().mean())
    assert (1 - rate) ** 2 + rate**2 / 9 <= agreement < (1 - rate + 0.001) ** 2 + (rate - 0.001) ** 2 / 9
    count = int(min(2, rate / (1 - rate)) * int(agrees.sum()))
    assert 0 < count < 150
    losses = -logits.log_softmax(dim=1)[torch.arange(150), labels]
    worst = asked[losses.argsort(descending=True)[:count]]
    assert sorted(worst.tolist()) == dropped.nonzero().flatten().tolist()


def test_noise_that_is_not_symmetric_discards_nothing(store, folder):
    seen, _ = watched({}, store, folder, select_epochs=3, rounds=2, symmetric=False)
    assert (seen[-1]["selected"] | seen[-1]["candidates"]).all()
    seen, result = watched({}, type(store)(store.root.parent / "symmetric"), folder, select_epochs=3, rounds=2)
    gone = ~(seen[-1]["selected"] | seen[-1]["candidates"])
    assert 0 < int(gone.sum()) < 300
    details = result["details"]
    assert details["selected_share"] + details["candidate_share"] == pytest.approx(1 - float(gone.double().mean()))


def test_it_selects_mostly_right_labels_and_beats_plain_training_at_forty_percent(tmp_path, store, folder):
    plain = train(small_spec(DIGITS), type(store)(tmp_path / "plain"), folder)["result"]
    seen, result = watched(DIGITS, store, folder, select_epochs=12, warm_up=10)
    assert result["test_accuracy"]["last"] > plain["test_accuracy"]["last"] + 4
    spec = small_spec(DIGITS).data
    wrong = torch.from_numpy(noisy_labels(spec, load_subset(spec, folder)).flipped)
    assert wrong[seen[-1]["selected"]].double().mean() < 0.1
    assert seen[-1]["selected"].double().mean() > 0.5
    assert 0.2 < result["details"]["estimated_noise_rate"] < 0.45


def test_candidates_join_the_batches_after_the_warm_up(store, folder):
    sizes = []
    exchange = INCV._exchange

    def watching(self, batch, count):
        sizes.append((self.task.epoch, len(batch.labels), count, int(self.candidates[batch.index].sum())))
        return exchange(self, batch, count)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(INCV, "_exchange", watching)
        changes = {"training.epochs": 4, "training.batch_size": 32}
        seen, result = watched(changes, store, folder, select_epochs=2, rounds=1, warm_up=2, warm_up_hard=2, gradual=2)
    algorithm = seen[-1]["algorithm"]
    s, c = int(algorithm.selected.sum()), int(algorithm.candidates.sum())
    side = min(c * 32 // s, 16)
    assert side > 0
    share = result["details"]["estimated_noise_rate_selected"]
    for within, size in enumerate((32, 32, 32 + side, 32 + side)):
        epoch = 2 * 2 + within  # two halves of two epochs come first
        first = next(row for row in sizes if row[0] == epoch)
        forget = share * min(1, within / 2)
        assert first == (epoch, size, round(32 * (1 - forget)), size - 32)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_stopped_after_any_epoch_it_ends_with_the_same_record(optimizer, tmp_path, store, folder):
    algorithm = {"name": "incv", "rounds": 1, "select_epochs": 2, "warm_up": 1, "warm_up_hard": 1}
    changes = {"method.algorithm": algorithm, "dataset.validation": 0.1, "training.epochs": 3}
    spec = small_spec(changes | {"training.optimizer": {"name": optimizer, "lr": 0.02}})
    whole = train(spec, store, folder)
    assert whole["result"]["epochs"] == 2 * 2 + 3
    for epochs in range(1, 7):
        other = type(store)(tmp_path / f"stopped-{epochs}")
        stopped_after(spec, other, folder, epochs)
        assert train(spec, other, folder)["result"] == whole["result"]


@pytest.mark.parametrize("label", ["nothing", "everything"])
def test_selecting_nothing_or_everything_is_a_run_too(label, store, folder):
    asked = INCV._asked

    def answers(self, number):
        positions, _ = asked(self, number)
        answer = (self.task.labels[positions] + (1 if label == "nothing" else 0)) % 10
        return positions, torch.nn.functional.one_hot(answer, 10).float()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(INCV, "_asked", answers)
        _, result = watched({"model": {"name": "small_cnn"}}, store, folder, select_epochs=1, rounds=2, warm_up=0)
    assert result["status"] == "finished"
    assert result["details"]["selected_share"] == (0 if label == "nothing" else 1)
    assert result["details"]["estimated_noise_rate"] == pytest.approx(0.9 if label == "nothing" else 0.001)
