"""Networks that weights may be sent for: four of our own, and whatever a plug-in brings.

A plug-in is an installed distribution with an entry point in the group "verifier.architectures" that
names an `Architecture`. Installing one is the administrator's act: an upload only names it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from itertools import pairwise
from typing import Any

from torch import nn

from verifier.errors import InvalidProblem, Unsupported, VerifierError
from verifier.models.resnet import ResNet20, ResNet50

GROUP = "verifier.architectures"
LARGEST_SIZE = 65_536
MOST_HIDDEN_LAYERS = 64


@dataclass(frozen=True)
class Architecture:
    """A family of networks, without weights.

    Args:
        name: as in the entry point.
        version: part of a model's identity; it changes whenever the same weights would compute another function.
        build: the network of a configuration, or InvalidProblem. Called under `torch.device("meta")`, so every
            tensor that the network computes with must be in its state dict.
        input_shape: of one input, without the batch axis, for the same configuration.
    """

    name: str
    version: str
    build: Callable[[Mapping[str, Any]], nn.Module]
    input_shape: Callable[[Mapping[str, Any]], tuple[int, ...]]


def find_architecture(name: str) -> Architecture:
    """The installed architecture of that name.

    Raises:
        InvalidProblem: none is installed under that name.
        Unsupported: the plug-in cannot be imported, is not an `Architecture`, or is installed twice.
    """
    installed = entry_points(group=GROUP)
    found = list(installed.select(name=name))
    if not found:
        raise InvalidProblem(
            f"unknown architecture {name!r}; installed: {', '.join(sorted(installed.names)) or 'none'}",
            field="architecture",
        )
    if len({point.value for point in found}) > 1:
        raise Unsupported(
            f"architecture {name!r} is installed more than once, as {' and '.join(point.value for point in found)}: "
            "uninstall all but one",
            reason="ARCHITECTURE_AMBIGUOUS",
        )
    try:
        architecture = found[0].load()
    except Exception as error:  # a plug-in may fail in any way
        raise Unsupported(
            f"architecture {name!r} ({found[0].value}) cannot be imported: {type(error).__name__}: {error}; "
            "repair or uninstall the plug-in",
            reason="ARCHITECTURE_BROKEN",
        ) from error
    if not isinstance(architecture, Architecture):
        raise Unsupported(
            f"architecture {name!r} ({found[0].value}) must be an Architecture, got {type(architecture).__name__}",
            reason="ARCHITECTURE_BROKEN",
        )
    return architecture


def build(architecture: Architecture, config: Mapping[str, Any]) -> tuple[nn.Module, tuple[int, ...]]:
    """The network of a configuration and the shape of its inputs; whatever the plug-in raises is InvalidProblem."""
    try:
        return architecture.build(config), tuple(architecture.input_shape(config))
    except VerifierError:
        raise
    except Exception as error:  # a plug-in may fail in any way
        raise InvalidProblem(
            f"architecture {architecture.name!r} cannot be built from {dict(config)}: {type(error).__name__}: {error}",
            field="config",
        ) from error


@dataclass(frozen=True)
class Setting:
    """One key of a configuration: what it must be, how to tell, and its value when left out (None: required)."""

    expects: str
    accepts: Callable[[Any], bool]
    default: Any = None


def read_config(architecture: str, settings: Mapping[str, Setting], config: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting's value, defaults filled in, or InvalidProblem naming the key."""
    for key in config:
        if key not in settings:
            raise InvalidProblem(
                f"{architecture} has no setting {key!r}; it has {', '.join(settings)}", field=f"config.{key}"
            )
    values = {}
    for key, setting in settings.items():
        value = config.get(key, setting.default)
        if not setting.accepts(value):
            got = repr(value) if key in config else "nothing"
            raise InvalidProblem(f"{architecture}: {key} must be {setting.expects}, got {got}", field=f"config.{key}")
        values[key] = value
    return values


def _is_size(value: Any, smallest: int = 1) -> bool:
    return type(value) is int and smallest <= value <= LARGEST_SIZE


def _are_sizes(value: Any, smallest: int = 1) -> bool:
    return isinstance(value, list | tuple) and all(_is_size(size, smallest) for size in value)


def _classes(default: int | None) -> Setting:
    return Setting(f"a whole number from 2 to {LARGEST_SIZE}", lambda value: _is_size(value, 2), default)


_MLP_SETTINGS = {
    "input_shape": Setting(
        f"a list of 1 to 4 whole numbers from 1 to {LARGEST_SIZE}",
        lambda value: _are_sizes(value) and 1 <= len(value) <= 4,
    ),
    "hidden": Setting(
        f"a list of at most {MOST_HIDDEN_LAYERS} whole numbers from 1 to {LARGEST_SIZE}",
        lambda value: _are_sizes(value) and len(value) <= MOST_HIDDEN_LAYERS,
    ),
    "classes": _classes(None),
}

_CNN_SETTINGS = {
    "input_shape": Setting(
        f"three whole numbers [channels, height, width] up to {LARGEST_SIZE}, height and width at least 4",
        lambda value: _are_sizes(value) and len(value) == 3 and min(value[1:]) >= 4,
        default=[1, 28, 28],
    ),
    "classes": _classes(10),
}

_RESNET20_SETTINGS = {"classes": _classes(10)}
_RESNET50_SETTINGS = {"classes": _classes(1000)}


def _build_mlp(config: Mapping[str, Any]) -> nn.Module:
    settings = read_config("mlp", _MLP_SETTINGS, config)
    widths = [math.prod(settings["input_shape"]), *settings["hidden"]]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], settings["classes"]))


def _build_cnn(config: Mapping[str, Any]) -> nn.Module:
    settings = read_config("cnn", _CNN_SETTINGS, config)
    channels, height, width = settings["input_shape"]
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (height // 4) * (width // 4), 100),
        nn.ReLU(),
        nn.Linear(100, settings["classes"]),
    )


def _build_resnet20(config: Mapping[str, Any]) -> nn.Module:
    return ResNet20(read_config("resnet20", _RESNET20_SETTINGS, config)["classes"])


def _build_resnet50(config: Mapping[str, Any]) -> nn.Module:
    return ResNet50(read_config("resnet50", _RESNET50_SETTINGS, config)["classes"])


MLP = Architecture(
    name="mlp",
    version="1",
    build=_build_mlp,
    input_shape=lambda config: tuple(read_config("mlp", _MLP_SETTINGS, config)["input_shape"]),
)
"""Fully connected, ReLU between: {"input_shape": [784], "hidden": [100, 100], "classes": 10}, all required."""

CNN = Architecture(
    name="cnn",
    version="1",
    build=_build_cnn,
    input_shape=lambda config: tuple(read_config("cnn", _CNN_SETTINGS, config)["input_shape"]),
)
"""Two strided convolutions, two linear layers: 166,406 parameters with the defaults [1, 28, 28] and 10 classes."""

RESNET20 = Architecture(
    name="resnet20",
    version="1",
    build=_build_resnet20,
    input_shape=lambda _config: (3, 32, 32),
)
"""`ResNet20` on [3, 32, 32]: {"classes": 10} is the default."""

RESNET50 = Architecture(
    name="resnet50",
    version="1",
    build=_build_resnet50,
    input_shape=lambda _config: (3, 224, 224),
)
"""`ResNet50` on [3, 224, 224], with torchvision's names of the weights: {"classes": 1000} is the default."""
