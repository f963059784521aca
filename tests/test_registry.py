"""The signature is the schema."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Literal

import pytest
from pydantic import Field

from noisybench import registry
from noisybench.errors import InputError, ParameterError, UnknownName
from noisybench.registry import FILE, PLACE, Component, Epochs


def sample(
    logits,
    labels,
    *,
    q: Annotated[float, Field(gt=0, le=1)] = 0.7,
    flip: Literal["exclusive", "inclusive"] = "exclusive",
    start: Epochs = 3,
    milestones: list[Epochs] | None = None,
    matrix: Annotated[str | None, FILE] = None,
    as_: Annotated[str | None, PLACE] = None,
    needed: int,
):
    """First line.

    More.
    """


COMPONENT = Component("loss", "sample", sample)


def test_only_keyword_parameters_are_settable():
    assert list(COMPONENT.keys) == ["q", "flip", "start", "milestones", "matrix", "as", "needed"]
    assert COMPONENT.summary == "First line."
    assert "needed" not in COMPONENT.defaults
    assert COMPONENT.defaults["q"] == 0.7


def test_markers_say_what_a_parameter_means():
    assert [COMPONENT.markers(key) for key in ("q", "start", "milestones", "matrix", "as")] == [
        set(),
        {"epochs"},
        {"epochs"},
        {"file"},
        {"place"},
    ]


def test_integers_pass_as_floats_and_defaults_are_filled_in():
    checked = COMPONENT.validate({"q": 1, "needed": 2, "as": "cifar10"})
    assert checked == {
        "q": 1.0,
        "flip": "exclusive",
        "start": 3,
        "milestones": None,
        "matrix": None,
        "as": "cifar10",
        "needed": 2,
    }


@pytest.mark.parametrize(
    ("params", "key", "words"),
    [
        ({"q": True, "needed": 1}, "q", "number"),
        ({"q": "0.5", "needed": 1}, "q", "number"),
        ({"q": float("nan"), "needed": 1}, "q", "finite"),
        ({"q": 0, "needed": 1}, "q", "greater than 0"),
        ({"q": 1.2, "needed": 1}, "q", "less than or equal to 1"),
        ({"q": [0.1, 0.2], "needed": 1}, "q", "number"),
        ({"needed": 1.0}, "needed", "integer"),
        ({"needed": True}, "needed", "integer"),
        ({"flip": "exclusiv", "needed": 1}, "flip", "'exclusive' or 'inclusive'"),
        ({}, "needed", "has no default"),
        ({"qq": 1, "needed": 1}, "qq", "did you mean 'q'"),
        ({"as_": "x", "needed": 1}, "as_", "did you mean 'as'"),
        ({"logits": 1, "needed": 1}, "logits", "has no parameter"),
    ],
)
def test_a_wrong_value_names_key_and_remedy(params, key, words):
    with pytest.raises(ParameterError, match=words) as caught:
        COMPONENT.validate(params)
    assert caught.value.key == key


def test_fits_tells_a_value_from_an_axis():
    assert COMPONENT.fits("q", 0.1)
    assert not COMPONENT.fits("q", [0.1, 0.2])
    assert COMPONENT.fits("milestones", [1, 2])
    assert not COMPONENT.fits("milestones", [[1], [2]])


def test_a_parameter_without_a_type_is_the_authors_error():
    def untyped(logits, labels, *, q=0.7): ...

    with pytest.raises(TypeError, match="'q' has no type"):
        Component("loss", "untyped", untyped).validate({})


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'gce'"):
        registry.get("loss", "gec")
    with pytest.raises(UnknownName, match="no family"):
        registry.names("losss")


@pytest.mark.parametrize("family", sorted(registry.FAMILIES))
def test_every_component_has_a_schema_a_docstring_and_a_known_citation(family):
    from noisybench import literature

    for component in registry.components(family):
        assert component.summary, component.name
        assert component.version >= 1
        assert component.parameters.model_json_schema()
        if component.cite:
            assert literature.citation(component.cite)
        for key in component.defaults:
            assert component.fits(key, component.defaults[key]), (component.name, key)


PLUGIN = '''
from noisybench.registry import loss
from torch.nn.functional import cross_entropy

@loss("plugin_ce")
def plugin_ce(logits, labels, *, scale: float = 1.0):
    """Scaled cross entropy."""
    return scale * cross_entropy(logits, labels, reduction="none")
'''


def test_a_plugin_file_registers_with_its_hash(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    try:
        origin = registry.load_plugin(path)
        assert registry.get("loss", "plugin_ce").origin == origin
        assert origin.startswith("sha256:")
        assert registry.load_plugin(path) == origin  # a second import is the first
    finally:
        registry._components.pop(("loss", "plugin_ce"), None)


@pytest.mark.parametrize("text", ["import nothing_like_this", "def broken(:", "raise SystemExit"])
def test_a_broken_plugin_is_one_line(tmp_path, text):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.py: cannot be imported"):
        registry.load_plugin(path)
    with pytest.raises(InputError, match="no such file"):
        registry.load_plugin(tmp_path / "absent.py")


def test_a_name_is_registered_once():
    registry.import_family("loss")

    def other(logits, labels): ...

    with pytest.raises(InputError, match="registered twice"):
        registry.loss("ce")(other)


def test_importing_the_package_and_asking_for_help_imports_no_torch():
    code = (
        "import sys, noisybench, noisybench.cli.app as a\n"
        "try: a.app(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "assert 'numpy' not in sys.modules, 'numpy was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_what_cannot_be_an_algorithm_is_refused_at_once():
    message = r"algorithm 'mine': must be a class derived from noisybench\.methods\.algorithm"
    with pytest.raises(InputError, match=message):
        registry.algorithm("mine")(lambda task: None)
    assert ("algorithm", "mine") not in registry._components


def test_a_setting_that_suites_could_not_reach_is_refused():
    def mine(logits, labels, factor: float = 0.5):
        """A loss whose factor could be given by place."""

    component = registry.Component("loss", "mine", mine)
    with pytest.raises(InputError, match=r"loss 'mine': 'factor' has a default but is no keyword-only parameter"):
        _ = component.parameters
