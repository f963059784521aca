"""Imported once by the process that test workers are forked from, so that a new worker takes milliseconds.

It trains a run of one epoch, which loads whatever is loaded late. Not where there is a GPU: autograd then starts
threads, which a fork does not survive.
"""

import tempfile
from pathlib import Path

import torch
from small_runs import small_spec

import noisybench.cli.app
import noisybench.execute.worker
import noisybench.report.figures
import noisybench.report.html  # noqa: F401
from noisybench.data import DataFolder
from noisybench.store import Store
from noisybench.train.trainer import train

if not torch.cuda.is_available():
    with tempfile.TemporaryDirectory() as place:
        train(small_spec({"training.epochs": 1}), Store(Path(place) / "study"), DataFolder(Path(place), None))
