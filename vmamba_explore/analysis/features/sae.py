"""A sparse autoencoder: vectors as sums of few directions out of many.

Own code, because no library fits. With torch 2.13 for the CPU, pip resolves all of four, but:
`overcomplete` 0.3 brings 48 packages, opencv, torchvision and timm among them, its training cannot
be resumed and the threshold of its BatchTopK is not saved; `eai-sparsify` 1.3 (54 packages),
`dictionary-learning` 0.1 (98) and `sae-lens` 6.54 (104) bring transformers and datasets and train
on the layers of language models. Resuming, where there is any, reads pickles.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vmamba_explore.analysis.features.activations import Site
from vmamba_explore.errors import check_choice, one_line
from vmamba_explore.files import atomic_write, parsed_json, write_json

Kind = Literal["topk", "batchtopk"]
FILES = ("features.safetensors", "features.json")
HEADER = "features"
"""Key of the settings in the header of the weights."""


@dataclass(frozen=True)
class FeatureSettings:
    """What features were found in and how; saved beside their weights.

    Args:
        site: Where the vectors were taken.
        width: How many features.
        k: How many are active in a vector (`topk`), or in the mean of vectors (`batchtopk`).
        kind: "topk" keeps the k largest of each vector; "batchtopk" the largest of a batch, and
            afterwards those above a threshold.
        steps, batch_size, learning_rate, seed, aux, dead_after: Of the training; see
            `train_features`.
        rows: How many vectors there were.
        data: Digest of the first batch, by which a run knows its data again.
        model: Fingerprint of the model, "" where it was not said.
    """

    site: Site
    width: int
    k: int
    kind: Kind
    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    aux: float
    dead_after: int
    rows: int
    data: str
    model: str = ""

    @classmethod
    def from_dict(cls, held: dict[str, Any]) -> FeatureSettings:
        """Return the settings that `asdict` made plain."""
        return cls(**{**held, "site": Site(**held["site"])})


class SparseFeatures(nn.Module):
    """Sparse features of the vectors at one site, in the model's own units at both ends.

    A vector x is measured as z = (x - mean) * measure; feature i has the code c[i] = ReLU(z @
    encoder[:, i] + bias[i]) where it is among the largest, else 0; and x is about
    mean + sum of c[i] * direction(i). Directions have length 1 in the measure.

    Args:
        settings: What they were found in and how.
        mean: Of the vectors, (size,).
        measure: What each number is multiplied by, (size,): the gauge over one common scale.
    Source:
        Gao et al. 2024, arXiv:2406.04093 (TopK, AuxK, tied start); Bussmann et al. 2024,
        arXiv:2412.06410 (BatchTopK).
    """

    mean: Tensor
    measure: Tensor
    threshold: Tensor

    def __init__(
        self,
        settings: FeatureSettings,
        mean: Float[Tensor, " size"],
        measure: Float[Tensor, " size"],
    ) -> None:
        super().__init__()
        check_choice("SparseFeatures: kind", settings.kind, ("topk", "batchtopk"))
        if not 0 < settings.k <= settings.width:
            raise ValueError(
                f"SparseFeatures: k is {settings.k} and width {settings.width}, expected k from 1 "
                "to width."
            )
        self.settings = settings
        generator = torch.Generator().manual_seed(settings.seed)
        rows = torch.randn(settings.width, len(mean), generator=generator)
        self.decoder = nn.Parameter(nn.functional.normalize(rows, dim=1))
        self.encoder = nn.Parameter(self.decoder.detach().T.clone())
        self.bias = nn.Parameter(torch.zeros(settings.width))
        self.register_buffer("mean", mean.clone())
        self.register_buffer("measure", measure.clone())
        self.register_buffer("threshold", torch.zeros(()))

    @property
    def site(self) -> Site:
        """Where the vectors were taken."""
        return self.settings.site

    @property
    def width(self) -> int:
        """How many features there are."""
        return self.settings.width

    def measured(self, rows: Float[Tensor, "*n size"]) -> Float[Tensor, "*n size"]:
        """Return vectors in the measure in which features are found and errors are counted."""
        return (rows.to(self.mean) - self.mean) * self.measure

    def raw_codes(self, measured: Float[Tensor, "*n size"]) -> Float[Tensor, "*n width"]:
        """Return every feature's code before the choice of the largest."""
        return torch.relu(measured @ self.encoder + self.bias)

    def sparse(self, codes: Float[Tensor, "*n width"]) -> Float[Tensor, "*n width"]:
        """Keep the codes that count once features are found; a row's depend on no other row."""
        if self.settings.kind == "batchtopk":
            return torch.where(codes > self.threshold, codes, 0)
        return only_largest(codes, self.settings.k)

    def encode(self, rows: Float[Tensor, "*n size"]) -> Float[Tensor, "*n width"]:
        """Return the code of every feature for each vector, most of them 0."""
        return self.sparse(self.raw_codes(self.measured(rows)))

    def decode(self, codes: Float[Tensor, "*n width"]) -> Float[Tensor, "*n size"]:
        """Return the vectors that codes stand for."""
        return self.mean + (codes @ self.decoder) / self.measure

    def direction(self, feature: int) -> Float[Tensor, " size"]:
        """Return what one unit of a feature's code adds to a vector.

        Raises:
            ValueError: there is no such feature.
        """
        self.check([feature], "SparseFeatures.direction")
        return self.decoder[feature].detach() / self.measure

    def check(self, features: Any, call: str) -> None:
        """Raise a ValueError unless all of the features exist."""
        for feature in features:
            if not 0 <= int(feature) < self.width:
                raise ValueError(
                    f"{call}: there is no feature {feature}; these are 0 to {self.width - 1}."
                )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the features to a folder: weights as safetensors, settings as JSON beside them."""
        settings = asdict(self.settings)
        tensors = {
            name: each.detach().cpu().contiguous() for name, each in self.state_dict().items()
        }
        atomic_write(Path(folder) / FILES[0], save(tensors, {HEADER: json.dumps(settings)}))
        write_json(Path(folder) / FILES[1], settings)


def load_features(folder: str | os.PathLike[str]) -> SparseFeatures:
    """Read features that `SparseFeatures.save` or `train_features` wrote.

    Raises:
        ValueError: the folder holds none, or their file is damaged.
    """
    settings, tensors = read_tensors(Path(folder) / FILES[0], HEADER, "load_features")
    try:
        features = SparseFeatures(
            FeatureSettings.from_dict(settings), tensors["mean"], tensors["measure"]
        )
        features.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"load_features: {one_line(folder)} does not hold features of this version "
            f"({one_line(error)}); train them again."
        ) from None
    return features.eval().requires_grad_(False)


def read_tensors(path: Path, key: str, call: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a safetensors file, and the JSON under a key of its header.

    Raises:
        ValueError: there is no such file, or it is damaged or another's.
    """
    if not os.path.isfile(path):
        raise ValueError(
            f"{call}: {one_line(path)} is not there; name a folder that train_features wrote."
        )
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{call}: {one_line(path)} is not a whole safetensors file ({one_line(error)}); train "
            "the features again."
        ) from None
    return parsed_json(header.get(key, "null"), dict, f"{call}: {one_line(path)}"), tensors


def only_largest(codes: Float[Tensor, "*n width"], k: int) -> Float[Tensor, "*n width"]:
    """Keep the k largest codes of each row."""
    values, places = codes.topk(k, dim=-1)
    return torch.zeros_like(codes).scatter(-1, places, values)
