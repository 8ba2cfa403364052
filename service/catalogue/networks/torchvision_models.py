"""Every classification network of torchvision, by torchvision's own name for it."""

from torch import Tensor, nn

from ensemble.errors import UnknownName
from service.catalogue.networks.cifar_resnet import IMAGENET_MEAN, IMAGENET_STD, Normalise
from service.catalogue.torchvision_compat import import_torchvision

# These two draw their weights anew, slowly, and warn about it, unless told that weights will come from elsewhere.
SLOW_INITIALISATION = ("googlenet", "inception_v3")


class NormalisedNetwork(nn.Module):
    """A network behind the ImageNet normalisation; its state dictionary has torchvision's keys behind `network.`.

    Args:
        network: classifier of normalised images.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `[batch classes]` of images `[batch 3 height width]` in [0, 1]."""
        logits: Tensor = self.network(self.normalise(images))
        return logits


def known_names() -> list[str]:
    """Return the names of torchvision's classification networks, sorted."""
    models = import_torchvision().models
    return sorted(models.list_models(module=models))


def torchvision_model(name: str, num_classes: int = 1000) -> nn.Module:
    """Return an untrained torchvision classification network in eval mode, for colour images in [0, 1].

    Args:
        name: torchvision's name, e.g. `resnet18`.
        num_classes: number of logits.

    Raises:
        UnknownName: torchvision has no classification network of that name.
    """
    known = known_names()
    if name not in known:
        raise UnknownName("torchvision network", name, known)
    extra = {"init_weights": False} if name in SLOW_INITIALISATION else {}
    network = import_torchvision().models.get_model(name, weights=None, num_classes=num_classes, **extra)
    return NormalisedNetwork(network).eval()
