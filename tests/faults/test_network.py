"""A proxy that answers for the archive's server, or nobody at all: one line, nothing written, and a rerun works."""

from __future__ import annotations

import http.server
import pickle
import sys
import threading
from dataclasses import replace

import pytest
from cifar_archives import batch, stand_in

from noisybench.cli.app import main
from noisybench.data import cifar
from noisybench.train import kept

SUITE = """
name: behind-a-proxy
version: 1
dataset: cifar10
noise: {kind: symmetric, rate: 0.2}
model: {name: mlp, width: 8}
training: {epochs: 1, batch_size: 20}
methods: {SGD: {}}
"""
LOGIN = b"<!DOCTYPE html><html><body>Please log in to use this network</body></html>"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A web server in place of the archive's own; what it answers is ``served["body"]``."""
    original = cifar.CIFAR10
    files = {name: batch(20, i, original.labels_key) for i, name in enumerate((*original.train, original.test))}
    files[original.meta] = pickle.dumps({original.names_key: [f"class {c}" for c in range(10)]}, protocol=2)
    archive, content = stand_in(original, tmp_path, files)
    answer = {"body": content}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = answer["body"]
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(answer.get("length", len(body))))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/{original.filename}"
    monkeypatch.setattr(cifar, "CIFAR10", replace(archive, url=url))
    yield answer
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The command, in a folder of its own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "suite.yaml").write_text(SUITE)
    monkeypatch.setattr(sys, "argv", ["noisybench", "run", "suite.yaml", "--workers", "0", "--data-dir", "data"])

    def command():
        kept._own.clear()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.mark.parametrize("trouble", ["login page", "cut short", "other bytes"])
def test_what_is_not_the_archive_is_one_line_and_a_rerun_works(served, run, tmp_path, trouble):
    good, words = served["body"], "thrown away"
    if trouble == "login page":
        served["body"], words = LOGIN, "web page"
    elif trouble == "cut short":
        served.update(body=good[: len(good) // 2], length=len(good))
    else:
        served["body"] = good[:-8] + bytes(8)
    code, _, err = run()
    assert code == 2
    assert len(err.splitlines()) == 1
    assert words in err
    assert "cifar-10-python.tar.gz" in err
    left = {path.name for path in tmp_path.joinpath("work").rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert left == {"suite.yaml"}
    served.clear()
    served["body"] = good
    assert run()[0] == 0
    assert list(tmp_path.glob("work/runs/behind-a-proxy/*/record.json"))


def test_no_network_is_one_line(served, run, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "CIFAR10", replace(cifar.CIFAR10, url="http://127.0.0.1:9/cifar-10-python.tar.gz"))
    code, _, err = run()
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "put cifar-10-python.tar.gz" in err
    assert not (tmp_path / "work" / "runs").exists()
