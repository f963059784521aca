"""What tasks and their command say to each other, without Ray."""

from __future__ import annotations

import asyncio
import time

import pytest

from noisybench.execute.ray import line
from noisybench.execute.ray.line import Line
from noisybench.execute.ray.mailbox import LINES, Mailbox


def test_a_line_sends_events_checkpoints_now_and_then_and_hears_the_request_to_stop(tmp_path):
    posts, answers = [], [None, None, None, 5.0]

    def post(events, reference):
        posts.append(([event["type"] for event in events], [sorted(packed) for packed in reference]))
        return answers.pop(0)

    held = Line(post, lambda packed: packed, timeout=None, every=0.0)
    held.watch(tmp_path)
    held.observe({"type": "epoch"})
    held.beat()
    (tmp_path / "made_from.json").write_bytes(b"{}")
    held.beat()
    (tmp_path / "checkpoint.pt").write_bytes(b"1")
    held.beat()
    assert held.deadline() is None
    held.beat()
    assert posts == [
        (["epoch"], []),
        ([], [["made_from.json"]]),
        ([], [["checkpoint.pt", "made_from.json"]]),
        ([], []),
    ]
    assert held.deadline() == pytest.approx(time.monotonic() + 5.0, abs=60.0)


def test_at_most_one_checkpoint_is_sent_in_the_time_that_was_asked_for(tmp_path):
    sent = []
    held = Line(lambda events, reference: sent.extend(reference), lambda packed: packed, timeout=None, every=3600.0)
    held.watch(tmp_path)
    for number in range(3):
        (tmp_path / "checkpoint.pt").write_bytes(bytes(number + 1))
        held.beat()
    assert sent == []


def test_a_line_keeps_what_could_not_be_sent_and_ends_when_nobody_is_there(tmp_path, monkeypatch):
    ended = []

    def post(events, reference):
        raise ConnectionError

    held = Line(post, lambda packed: packed, timeout=None, every=0.0, end=lambda: ended.append(True))
    held.observe({"type": "log"})
    held.beat()
    assert (ended, held.rest()) == ([], [{"type": "log"}])
    monkeypatch.setattr(line, "SILENCE_SECONDS", -1.0)
    held.beat()
    assert ended == [True]


def test_a_run_over_its_time_says_where_it_is_and_ends(monkeypatch):
    import threading

    monkeypatch.setattr(line, "BEAT_SECONDS", 0.01)
    posts, over = [], threading.Event()
    held = Line(
        lambda events, reference: posts.extend(events), lambda packed: packed, timeout=0.0, every=0.0, end=over.set
    )
    with held:
        assert over.wait(60.0)
    late = next(event for event in posts if event["type"] == "late")
    assert "over.wait(60.0)" in late["trace"]


def test_the_mailbox_holds_the_newest_and_answers_who_asks():
    async def story():
        box = Mailbox()
        assert await box.post("a/1", [{"n": n} for n in range(LINES + 5)], ("old",)) is None
        await box.post("a/1", [], ("new",))
        asking = asyncio.ensure_future(box.ask("b/2"))
        await asyncio.sleep(0)
        letters = await box.take(0.1, None)
        assert sorted(letters) == ["a/1", "b/2"]
        assert (letters["a/1"].events[0], len(letters["a/1"].events)) == ({"n": 5}, LINES)
        assert (letters["a/1"].checkpoint, letters["b/2"].asks) == (("new",), True)
        await box.answer("b/2", "granted")
        assert await asking == "granted"
        assert await box.take(0.01, 5.0) == {}
        left = await box.post("a/1", [])
        assert left is not None
        assert left <= 5.0

    asyncio.run(story())
