"""Two small convolutional networks: digits (8x8, one channel) and MNIST-like images (28x28, one channel).

Both are Conv-BN-ReLU-Conv-BN-ReLU-pool-flatten-Linear-ReLU-Linear. The pooling is coarse on purpose: the flattened
features stay far fewer than the images of a small calibration part, so that the upper Linear can be refitted on them.
"""

from torch import Tensor, nn


class SmallCnn(nn.Module):
    """A two-convolution classifier of square one-channel images in [0, 1]; forward returns logits `[batch classes]`.

    Args:
        size: height and width of the images.
        widths: channels after the first and the second convolution.
        pool: side of the max-pooling window, which must divide `size`.
        hidden: width of the hidden fully connected layer.
        num_classes: number of logits.
    """

    def __init__(self, *, size: int, widths: tuple[int, int], pool: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        first, second = widths
        self.conv1 = nn.Conv2d(1, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(first, second, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(second)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(pool)
        self.flatten = nn.Flatten()
        self.linear1 = nn.Linear(second * (size // pool) ** 2, hidden)
        self.relu3 = nn.ReLU()
        self.linear2 = nn.Linear(hidden, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits `[batch classes]` of images `[batch 1 size size]` in [0, 1]."""
        hidden = self.relu1(self.bn1(self.conv1(inputs)))
        hidden = self.relu2(self.bn2(self.conv2(hidden)))
        features = self.flatten(self.pool(hidden))
        logits: Tensor = self.linear2(self.relu3(self.linear1(features)))
        return logits


def digits_cnn(num_classes: int = 10) -> nn.Module:
    """Return an untrained network for 8x8 digits, inputs `[batch 1 8 8]` in [0, 1]."""
    return SmallCnn(size=8, widths=(16, 16), pool=4, hidden=64, num_classes=num_classes)


def mnist_cnn(num_classes: int = 10) -> nn.Module:
    """Return an untrained network for MNIST-like images, inputs `[batch 1 28 28]` in [0, 1]."""
    return SmallCnn(size=28, widths=(16, 32), pool=7, hidden=64, num_classes=num_classes)
