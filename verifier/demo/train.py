"""Trains the networks of the demonstration: `python -m verifier.demo.train --out DIR`.

Both are the architecture `mlp`, 64-256-64-10 (33,738 weights), trained with AdamW on 1,347 images and measured on the
450 held out: the same network with and without Gaussian noise on its training images. Certified at sigma = 0.5 from
1,000 draws an image, alpha = 0.001 an image, class and bound from the same draws; an image counts when its own label
is certified to at least the radius.

                 clean accuracy    certified accuracy at radius 0.25     0.5    0.75
digits_std                0.978                                0.127   0.007   0.000
digits_gauss050           0.984                                0.753   0.420   0.067

Seeds are fixed, but sums in float32 depend on the machine and on torch: training again gives networks that are as
good, not the same bytes.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import onnx
import safetensors.torch
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn
from torch.nn import functional

from verifier.demo import digits
from verifier.errors import InternalError
from verifier.model import ModelFormat
from verifier.models.architectures import MLP
from verifier.smoothing.radius import l2_radius
from verifier.stats.binomial import clopper_pearson_lower

CONFIG = {"input_shape": list(digits.INPUT_SHAPE), "hidden": [256, 64], "classes": digits.CLASSES}
OPSET = 17
TOLERANCE = 1e-4
"""Largest difference of a logit that we take for rounding between torch and ONNX's reference."""

SIGMA, DRAWS, ALPHA, RADII = 0.5, 1_000, 1e-3, (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        sigma: standard deviation of the noise on its training images; 0 trains without noise.
        epochs: passes over the training images.
        copies: noisy copies of an image in one step.
        batch: images a step.
        learning_rate: the peak of a one-cycle schedule.
        weight_decay: of AdamW.
        seed: of the initial weights, the order and the noise.
    """

    sigma: float
    epochs: int
    copies: int
    batch: int = 128
    learning_rate: float = 1e-2
    weight_decay: float = 5e-2
    seed: int = 0


RECIPES = {
    "digits_std": Recipe(sigma=0.0, epochs=30, copies=1),
    "digits_gauss050": Recipe(sigma=0.5, epochs=200, copies=8),
}


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
def main(out: Path) -> None:
    """Train both networks, measure them on the held-out images, and write the four files."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    for name, recipe in RECIPES.items():
        network = train(recipe)
        write_safetensors(network, recipe, out / f"{name}.{ModelFormat.SAFETENSORS}")
        write_onnx(network, name, recipe, out / f"{name}.{ModelFormat.ONNX}")
        accuracies = "  ".join(f"{accuracy:.3f}" for accuracy in measure(network))
        click.echo(f"{name}: clean and certified accuracy at {', '.join(map(str, RADII))}: {accuracies}")


def train(recipe: Recipe) -> nn.Sequential:
    """A trained network, in eval mode."""
    torch.manual_seed(recipe.seed)
    x, y = map(torch.from_numpy, digits.training_images())
    network = MLP.build(CONFIG)
    assert isinstance(network, nn.Sequential)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(x) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, steps)
    for _ in range(recipe.epochs):
        for batch in torch.split(torch.randperm(len(x)), recipe.batch):
            images = x[batch].repeat(recipe.copies, 1, 1, 1)
            noisy = images + recipe.sigma * torch.randn_like(images)
            loss = functional.cross_entropy(network(noisy), y[batch].repeat(recipe.copies))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval().requires_grad_(False)


def measure(network: nn.Module) -> list[float]:
    """Clean accuracy on the held-out images, then certified accuracy at each of RADII."""
    x, y = map(torch.from_numpy, digits.test_images())
    generator = torch.Generator().manual_seed(0)
    votes = torch.stack([count(network, image, generator) for image in x]).numpy()
    bound = clopper_pearson_lower(votes.max(axis=1), DRAWS, ALPHA / 2)  # half pays for choosing the class
    radius = l2_radius(SIGMA, bound.q)
    right = votes.argmax(axis=1) == y.numpy()
    clean = (network(x).argmax(dim=1) == y).double().mean().item()
    return [clean, *(float(np.mean(right & (radius >= asked))) for asked in RADII)]


def count(network: nn.Module, image: Tensor, generator: torch.Generator) -> Tensor:
    """Votes [K] of the network over DRAWS noisy copies of one image."""
    noise = torch.randn(DRAWS, *image.shape, generator=generator)
    votes: Tensor = network(image + SIGMA * noise).argmax(dim=1).bincount(minlength=digits.CLASSES)
    return votes


def write_safetensors(network: nn.Module, recipe: Recipe, path: Path) -> None:
    """The weights; the metadata name the architecture, its configuration and the recipe."""
    metadata = {"architecture": MLP.name, "config": json.dumps(CONFIG), "recipe": json.dumps(asdict(recipe))}
    path.write_bytes(safetensors.torch.save(network.state_dict(), metadata))


def write_onnx(network: nn.Sequential, name: str, recipe: Recipe, path: Path) -> None:
    """The network as a single ONNX file, once ONNX's own reference evaluator computes the same from it."""
    model = to_onnx(network, name, f"{MLP.name} {json.dumps(CONFIG)}, {json.dumps(asdict(recipe))}")
    x = torch.rand(16, *digits.INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
    (expected,) = ReferenceEvaluator(model).run(None, {"image": x.numpy()})
    difference = np.abs(network(x).numpy() - expected).max()
    if not difference <= TOLERANCE:
        raise InternalError(f"logits of torch and ONNX must agree within {TOLERANCE}, they differ by {difference:.3g}")
    onnx.save(model, path)


def to_onnx(network: nn.Sequential, name: str, description: str) -> onnx.ModelProto:
    """A chain of Flatten, Linear and ReLU as an ONNX model that takes any batch of images."""
    nodes, weights = [], []
    value = "image"
    for index, layer in enumerate(network):
        inputs, value = [value], f"value{index}" if index < len(network) - 1 else "logits"
        match layer:
            case nn.Flatten():
                nodes.append(helper.make_node("Flatten", inputs, [value]))
            case nn.ReLU():
                nodes.append(helper.make_node("Relu", inputs, [value]))
            case nn.Linear():
                parameters = {f"{index}.{key}": tensor for key, tensor in layer.named_parameters()}
                weights += [numpy_helper.from_array(_array(tensor), key) for key, tensor in parameters.items()]
                nodes.append(helper.make_node("Gemm", [*inputs, *parameters], [value], transB=1))
            case _:
                raise TypeError(f"expected Flatten, Linear or ReLU, got {layer}")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *digits.INPUT_SHAPE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", digits.CLASSES])
    graph = helper.make_graph(nodes, name, [image], [logits], weights)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="verifier",
        doc_string=description,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().numpy()


if __name__ == "__main__":
    main()
