"""Set-up that must come before any test module is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported; contended cores are slower with more

import torch

from service.catalogue.torchvision_compat import import_torchvision

torch.set_num_threads(1)
import_torchvision()
