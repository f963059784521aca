"""Files on disk: whole or not there; damaged ones are named and set aside."""

from __future__ import annotations

import os

import numpy as np
import pytest

from noisybench.errors import StoreError
from noisybench.store import Store, append_text, read_arrays, read_json, set_aside, write_arrays, write_atomic

RESULT = {"spec": {"seed": 0}, "status": "finished", "test_accuracy": {"last": 90.0}}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs" / "study")


def test_a_record_comes_back_as_written(store):
    written = store.write_record("a-1", RESULT, {"host": "x"})
    assert store.read_record("a-1")["result"] == RESULT
    assert store.read_record("a-1")["result_sha256"] == written["result_sha256"]
    assert store.read_record("nothing") is None


def test_the_result_hash_ignores_provenance(store):
    one = store.write_record("a-1", RESULT, {"host": "x"})
    two = store.write_record("a-2", RESULT, {"host": "y"})
    assert one["result_sha256"] == two["result_sha256"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"90", b"99"),
        lambda data: b"[]",
        lambda data: b"\x00\xff" * 100,
        lambda data: b"[" * 100_000,
    ],
)
def test_a_damaged_record_is_set_aside_and_named(store, damage):
    store.write_record("a-1", RESULT, {})
    path = store.folder("a-1") / "record.json"
    path.write_bytes(damage(path.read_bytes()))
    record, problem = store.settled("a-1")
    assert record is None
    assert "record.json" in problem
    assert not path.exists()
    assert (store.folder("a-1") / "record.json.corrupt").exists()


def test_a_record_of_another_run_is_damaged(store):
    store.write_record("a-1", RESULT, {})
    store.folder("a-2").mkdir()
    os.link(store.folder("a-1") / "record.json", store.folder("a-2") / "record.json")
    with pytest.raises(ValueError, match="does not describe this run"):
        store.read_record("a-2")


def test_nothing_half_written_stays(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomic(path, b"old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_arrays_carry_their_hash(tmp_path):
    path = tmp_path / "a.npz"
    written = write_arrays(path, {"train": np.arange(5, dtype=np.uint8)})
    arrays, content = read_arrays(path)
    assert content == written
    assert arrays["train"].tolist() == [0, 1, 2, 3, 4]
    assert write_arrays(tmp_path / "b.npz", {"train": np.arange(5, dtype=np.int64)}) != written
    np.savez(path, train=np.arange(4), sha256=np.array(written))
    with pytest.raises(ValueError, match="checksum"):
        read_arrays(path)
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match="damaged"):
        read_arrays(path)


def test_names_of_set_aside_files_do_not_collide(tmp_path):
    for expected in ("x.corrupt", "x.corrupt.2", "x.corrupt.3"):
        (tmp_path / "x").write_text("1")
        assert set_aside(tmp_path / "x").name == expected


def test_a_plan_is_checked(store):
    assert store.read_plan() is None
    store.write_plan({"suite": "study", "cells": []})
    assert store.read_plan() == {"suite": "study", "cells": []}
    assert read_json(store.plan_path)
    store.plan_path.write_text("{}")
    with pytest.raises(StoreError, match=r"plan\.json"):
        store.read_plan()


def test_a_lock_is_held_by_one(store):
    from filelock import Timeout

    with store.lock("a-1"), pytest.raises(Timeout):
        Store(store.root).lock("a-1").acquire(timeout=0)


def test_files_get_the_users_own_permissions(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "file.json", b"x")
    assert (tmp_path / "file.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_log_takes_any_text(tmp_path):
    append_text(tmp_path / "run.log", "größer \udce9\n")
    assert (tmp_path / "run.log").read_bytes().decode() == "größer \\udce9\n"
