import math
from pathlib import Path
from typing import Any

import pytest
import torch

from verifier.errors import InvalidProblem, Unsupported
from verifier.models.architectures import CNN, MLP, RESNET20, Architecture, build, find_architecture

MLP_CONFIG = {"input_shape": [2, 3], "hidden": [5, 4], "classes": 3}


def parameters(architecture: Architecture, config: dict[str, Any]) -> int:
    return sum(parameter.numel() for parameter in architecture.build(config).parameters())


@pytest.mark.parametrize(
    ("architecture", "config", "count"),
    [
        (MLP, MLP_CONFIG, 6 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3),
        (MLP, {"input_shape": [6], "hidden": [], "classes": 2}, 14),
        (CNN, {}, 166_406),
        (RESNET20, {}, 269_722),
    ],
)
def test_networks_have_the_parameters_of_their_source(
    architecture: Architecture, config: dict[str, Any], count: int
) -> None:
    assert parameters(architecture, config) == count


@pytest.mark.parametrize(
    ("architecture", "config", "input_shape", "classes"),
    [
        (MLP, MLP_CONFIG, (2, 3), 3),
        (CNN, {}, (1, 28, 28), 10),
        (CNN, {"input_shape": [3, 5, 9], "classes": 4}, (3, 5, 9), 4),
        (RESNET20, {"classes": 7}, (3, 32, 32), 7),
    ],
)
def test_networks_take_their_input_shape_and_give_their_classes(
    architecture: Architecture, config: dict[str, Any], input_shape: tuple[int, ...], classes: int
) -> None:
    module, shape = build(architecture, config)
    assert shape == input_shape
    assert module(torch.rand(2, *input_shape)).shape == (2, classes)


def test_cnn_has_the_state_dict_of_a_plain_sequential() -> None:
    assert {key for key in CNN.build({}).state_dict() if key.endswith("weight")} == {
        "0.weight",
        "2.weight",
        "5.weight",
        "7.weight",
    }


def test_resnet_shortcut_keeps_every_second_pixel_and_pads_channels_with_zeros() -> None:
    block = RESNET20.build({}).get_submodule("layer2.0")
    x = torch.rand(1, 16, 8, 8)
    short = block.shortcut(x)  # type: ignore[operator]
    assert torch.equal(short[:, 8:24], x[:, :, ::2, ::2])
    assert short.shape == (1, 32, 4, 4)
    assert math.isclose(float(short.sum()), float(x[:, :, ::2, ::2].sum()), rel_tol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "config", "field", "message"),
    [
        (MLP, MLP_CONFIG | {"width": 3}, "config.width", "mlp has no setting 'width'; it has input_shape, hidden"),
        (MLP, {"input_shape": [4], "hidden": []}, "config.classes", "classes must be .* got nothing"),
        (MLP, MLP_CONFIG | {"hidden": [5, True]}, "config.hidden", "hidden must be a list of .* got \\[5, True\\]"),
        (MLP, MLP_CONFIG | {"hidden": 5}, "config.hidden", "got 5"),
        (MLP, MLP_CONFIG | {"hidden": [1] * 65}, "config.hidden", "at most 64"),
        (MLP, MLP_CONFIG | {"classes": 1}, "config.classes", "from 2 to 65536, got 1"),
        (MLP, MLP_CONFIG | {"classes": 3.0}, "config.classes", "got 3.0"),
        (MLP, MLP_CONFIG | {"input_shape": []}, "config.input_shape", "got \\[\\]"),
        (CNN, {"input_shape": [1, 3, 28]}, "config.input_shape", "height and width at least 4, got"),
        (CNN, {"input_shape": "1x28x28"}, "config.input_shape", "got '1x28x28'"),
        (RESNET20, {"depth": 56}, "config.depth", "resnet20 has no setting 'depth'; it has classes"),
    ],
)
def test_wrong_configurations_name_the_key(
    architecture: Architecture, config: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidProblem, match=message) as caught:
        build(architecture, config)
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize("architecture", [MLP, CNN, RESNET20], ids=lambda architecture: architecture.name)
def test_built_in_architectures_are_found_by_name(architecture: Architecture) -> None:
    assert find_architecture(architecture.name) is architecture


def test_an_unknown_name_lists_the_installed_ones() -> None:
    with pytest.raises(InvalidProblem, match="unknown architecture 'vgg'; installed: cnn, mlp, resnet20"):
        find_architecture("vgg")


def install(directory: Path, name: str, entry_point: str, code: str) -> None:
    """A plug-in as an installer would leave it."""
    metadata = directory / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[verifier.architectures]\n{entry_point}\n")
    (directory / f"{name}.py").write_text(code)


PLUGIN = """
from torch import nn
from verifier.models.architectures import Architecture
LINEAR = Architecture("linear", "3", lambda config: nn.Linear(config["size"], 2), lambda config: (config["size"],))
"""


def test_a_plug_in_is_found_and_its_own_failures_are_the_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "linear_plugin", "linear = linear_plugin:LINEAR", PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    linear = find_architecture("linear")
    assert linear.version == "3"
    assert build(linear, {"size": 4})[1] == (4,)
    with pytest.raises(InvalidProblem, match=r"'linear' cannot be built from {}: KeyError: 'size'"):
        build(linear, {})


@pytest.mark.parametrize(
    ("name", "entry_point", "code", "message"),
    [
        ("plugin_raises", "broken = plugin_raises:X", "1 / 0", "'broken' .*cannot be imported: ZeroDivisionError"),
        ("plugin_empty", "broken = plugin_empty:X", "", "'broken' .*cannot be imported: AttributeError"),
        ("plugin_number", "broken = plugin_number:X", "X = 3", "'broken' .*must be an Architecture, got int"),
        ("plugin_taken", "mlp = plugin_taken:X", "X = 3", "'mlp' is installed more than once"),
    ],
)
def test_a_broken_plug_in_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, entry_point: str, code: str, message: str
) -> None:
    install(tmp_path, name, entry_point, code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unsupported, match=message):
        find_architecture(entry_point.split(" ")[0])
