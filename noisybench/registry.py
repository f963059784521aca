"""Every loss, noise, model, data set, optimiser, schedule and algorithm, by name.

A component registers itself with a decorator; **its signature is its YAML schema**: keyword-only parameters with type,
range and default are what a suite may set and what ``show`` prints. Nothing else has to be edited to add one.

    @loss("gce", cite="zhang2018gce")
    def generalized_cross_entropy(logits, labels, *, q: Annotated[float, Field(gt=0, le=1)] = 0.7): ...

A family's package is imported when somebody first asks for the family, so this module knows no floor above it.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic

from noisybench.errors import InputError, ParameterError, UnknownName

FAMILIES: dict[str, str] = {
    "dataset": "noisybench.data",
    "noise": "noisybench.noise",
    "model": "noisybench.models",
    "loss": "noisybench.losses",
    "optimizer": "noisybench.optim",
    "schedule": "noisybench.optim",
    "algorithm": "noisybench.methods",
}
STRICT = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Marker:
    """What a parameter means beyond its type; see the aliases below."""

    name: str


Epochs = Annotated[int, Marker("epochs")]
"""A number of epochs: ``--smoke`` scales it with the run."""
FILE = Marker("file")
"""``Annotated[str | None, FILE]``: a path whose content (its SHA-256) belongs to the run's identity, not its place."""
PLACE = Marker("place")
"""``Annotated[str, PLACE]``: where something lies or how it is shown; no part of the run's identity."""


@dataclass(frozen=True, eq=False)
class Component:
    """One registered thing: what builds it, who proposed it, which parameters it takes."""

    family: str
    name: str
    target: Callable[..., Any]
    cite: str | None = None
    version: int = 1
    origin: str | None = None  # None: built in; otherwise "sha256:..." of a plug-in file or "distribution==version"
    traits: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def parameters(self) -> type[pydantic.BaseModel]:
        """The strict pydantic model of the keyword-only parameters (a trailing underscore is dropped: ``as_``)."""
        function = self.target.__init__ if inspect.isclass(self.target) else self.target
        hints = typing.get_type_hints(function, include_extras=True)
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                if parameter.default is not inspect.Parameter.empty:
                    raise InputError(
                        f"{self.family} '{self.name}': '{name}' has a default but is no keyword-only parameter; write "
                        f"'*' before it, so that suites can set it"
                    )
                continue
            if name not in hints:
                raise TypeError(f"{self.family} '{self.name}': parameter '{name}' has no type; it is the YAML schema")
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            public = name.rstrip("_")
            fields[name.rstrip("_") + "_" if public != name else name] = (
                (hints[name], pydantic.Field(default, alias=public)) if public != name else (hints[name], default)
            )
        return pydantic.create_model(f"{self.family}:{self.name}", __config__=STRICT, **fields)

    @functools.cached_property
    def keys(self) -> dict[str, str]:
        """Public (YAML) parameter name -> Python parameter name."""
        return {info.alias or name: name for name, info in self.parameters.model_fields.items()}

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.target) or "").strip().split("\n")[0]

    @property
    def defaults(self) -> dict[str, Any]:
        """Public name -> default, for parameters that have one."""
        fields = self.parameters.model_fields
        return {key: fields[name].default for key, name in self.keys.items() if not fields[name].is_required()}

    def field(self, key: str) -> pydantic.fields.FieldInfo:
        """The pydantic field behind a public parameter name."""
        return self.parameters.model_fields[self.keys[key]]

    def markers(self, key: str) -> set[str]:
        """Names of the markers on a parameter: ``epochs``, ``file``, ``place`` (at any depth of its type)."""
        info = self.field(key)
        found = {m.name for m in info.metadata if isinstance(m, Marker)}
        return found | _markers_in(info.annotation)

    def fits(self, key: str, value: Any) -> bool:
        """True when ``value`` as it stands is valid for parameter ``key``."""
        try:
            self._adapter(key).validate_python(value)
        except pydantic.ValidationError:
            return False
        return True

    @functools.cache  # noqa: B019  # components live as long as the process
    def _adapter(self, key: str) -> pydantic.TypeAdapter[Any]:
        info = self.field(key)
        annotation: Any = info.annotation
        for item in info.metadata:
            annotation = Annotated[annotation, item]
        return pydantic.TypeAdapter(annotation, config=pydantic.ConfigDict(strict=True, allow_inf_nan=False))

    def validate(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Check parameters against the signature and fill in defaults. Keys are public (YAML) names.

        Raises ParameterError with the key, what is allowed, and "did you mean".
        """
        return validate_model(self.parameters, params, owner=f"{self.family} '{self.name}'")

    def build(self, *args: Any, **params: Any) -> Any:
        """Validate ``params`` and call the component with ``args`` and all its parameters."""
        checked = self.validate(params)
        return self.target(*args, **{self.keys[key]: value for key, value in checked.items()})


def _markers_in(annotation: Any) -> set[str]:
    found: set[str] = set()
    for part in typing.get_args(annotation):
        if isinstance(part, Marker):
            found.add(part.name)
        else:
            found |= _markers_in(part)
    return found


_components: dict[tuple[str, str], Component] = {}
_imported: set[str] = set()
_origin: list[str | None] = [None]  # the plug-in being imported, innermost last


def register(
    family: str, name: str, *, cite: str | None = None, version: int = 1, **traits: Any
) -> Callable[[Any], Any]:
    """Decorator that registers a component. ``cite`` is a key of ``literature/citations.yaml``.

    ``version`` is raised whenever a default or the behaviour changes: old records then no longer count as this run.
    ``traits`` are facts other floors ask about (an optimiser's ``wraps=True``).
    """

    def decorate(target: Any) -> Any:
        _check_shape(family, name, target)
        key = (family, name)
        new = Component(family, name, target, cite, version, _origin[-1], traits)
        old = _components.get(key)
        if old is not None and (old.target.__module__, old.target.__qualname__) != (
            target.__module__,
            target.__qualname__,
        ):
            raise InputError(
                f"{family} '{name}' is registered twice: by {old.target.__module__} and by {target.__module__}"
            )
        _components[key] = new
        return target

    return decorate


def _check_shape(family: str, name: str, target: Any) -> None:
    """InputError for what cannot be a component: better here than in the middle of a study."""
    if family == "algorithm" and not all(hasattr(target, part) for part in ("phases", "train_epoch", "predict")):
        raise InputError(
            f"algorithm '{name}': must be a class derived from noisybench.methods.algorithm.Algorithm "
            "(or OneNetwork); README, 'Add a method in one file', has an example"
        )


dataset = functools.partial(register, "dataset")
noise = functools.partial(register, "noise")
model = functools.partial(register, "model")
loss = functools.partial(register, "loss")
optimizer = functools.partial(register, "optimizer")
schedule = functools.partial(register, "schedule")
algorithm = functools.partial(register, "algorithm")


def import_family(family: str) -> None:
    """Import every module of the family's package once, and the installed plug-ins (entry points) once."""
    if family not in FAMILIES:
        raise UnknownName(f"no family '{family}'{did_you_mean(family, FAMILIES)}")
    package_name = FAMILIES[family]
    if package_name not in _imported:
        _imported.add(package_name)
        package = importlib.import_module(package_name)
        for info in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{info.name}")
    _import_entry_points()


def _import_entry_points() -> None:
    if "entry points" in _imported:
        return
    _imported.add("entry points")
    for point in importlib.metadata.entry_points(group="noisybench"):
        dist = point.dist
        _origin.append(f"{dist.name}=={dist.version}" if dist else point.value)
        try:
            point.load()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"plug-in '{point.name}' ({_origin[-1]}) cannot be imported: {error}") from error
        finally:
            _origin.pop()


def load_plugin(path: str | Path) -> str:
    """Import a plug-in file (``--plugin my_method.py``); returns its origin ``sha256:<hash of the file>``."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--plugin {path}: no such file")
    origin = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    module_name = f"noisybench_plugin_{path.stem}_{origin[7:15]}"
    if module_name in sys.modules:
        return origin
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    _origin.append(origin)
    try:
        spec.loader.exec_module(module)
    except (InputError, KeyboardInterrupt):
        del sys.modules[module_name]
        raise
    except BaseException as error:
        del sys.modules[module_name]
        raise InputError(f"--plugin {path}: cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        _origin.pop()
    return origin


def names(family: str) -> list[str]:
    """All registered names of a family, sorted."""
    import_family(family)
    return sorted(name for kind, name in _components if kind == family)


def get(family: str, name: str) -> Component:
    """The component registered as ``name``; UnknownName with "did you mean" otherwise."""
    import_family(family)
    component = _components.get((family, name))
    if component is None:
        known = names(family)
        raise UnknownName(f"no {family} '{name}'{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return component


def components(family: str) -> list[Component]:
    """All components of a family, sorted by name."""
    return [_components[family, name] for name in names(family)]


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """``; did you mean 'x'?`` or an empty string."""
    known = list(known)
    lowered = {item.lower(): item for item in reversed(known)}
    match = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean '{lowered[match[0]]}'?" if match else ""


def validate_model(schema: type[pydantic.BaseModel], values: Mapping[str, Any], *, owner: str) -> dict[str, Any]:
    """Validate a mapping against a strict model; returns public names -> values with defaults filled in.

    The first problem becomes a ParameterError: ``key`` is the dotted place, the message says what is allowed.
    """
    allowed = [info.alias or name for name, info in schema.model_fields.items()]
    for key in values:
        if key not in allowed:
            takes = f"it takes: {', '.join(allowed)}" if allowed else "it takes no parameters"
            raise ParameterError(
                f"{owner} has no parameter '{key}'{did_you_mean(str(key), allowed)}; {takes}", key=str(key)
            )
    try:
        checked = schema.model_validate(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:1])
        if first["type"] == "missing":
            raise ParameterError(f"{owner} needs '{key}', which has no default", key=key) from None
        problems = [e for e in error.errors() if e["loc"][:1] == first["loc"][:1]]
        wanted = " or ".join(dict.fromkeys(_say(e) for e in problems))
        raise ParameterError(f"{wanted}, not {shown(values.get(key, first['input']))}", key=key) from None
    return {info.alias or name: getattr(checked, name) for name, info in schema.model_fields.items()}


def _say(error: Any) -> str:
    message = error["msg"]
    for prefix in ("Input should be ", "Value error, "):
        message = message.removeprefix(prefix)
    return f"must be {message}" if error["msg"].startswith("Input should") else message


def shown(value: Any) -> str:
    """A value as a user would recognise it, at most 60 characters."""
    text = (
        {True: "true", False: "false", None: "null"}.get(value, repr(value))
        if isinstance(value, (bool, type(None)))
        else repr(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."
