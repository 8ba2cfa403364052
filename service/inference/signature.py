"""What a view takes and answers: names, datatypes and shapes, as the metadata route shows them."""

from dataclasses import dataclass
from typing import Any, Final

from service.inference.views import View

PLATFORM: Final = "levelset"
INPUT: Final = "input"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, datatype and shape of a tensor; -1 stands for the rows of a request."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the tensor as the protocol writes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of one view."""

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in the order they are sent."""
        return tuple(output.name for output in self.outputs)


def signature_of(view: View, *, input_shape: tuple[int, ...], num_classes: int, members: int) -> Signature:
    """Return what `view` takes and answers.

    Args:
        view: the addressed model.
        input_shape: `(C, H, W)`.
        num_classes: K.
        members: M.
    """
    single = (
        TensorSpec("probabilities", "FP32", (-1, num_classes)),
        TensorSpec("logits", "FP32", (-1, num_classes)),
        TensorSpec("labels", "INT64", (-1,)),
        TensorSpec("entropy", "FP32", (-1,)),
    )
    several = (
        TensorSpec("member_probabilities", "FP32", (-1, members, num_classes)),
        TensorSpec("member_labels", "INT64", (-1, members)),
        TensorSpec("disagreement", "FP32", (-1,)),
        TensorSpec("mutual_information", "FP32", (-1,)),
    )
    outputs = single + several if view.kind == "ensemble" else single
    return Signature(TensorSpec(INPUT, "FP32", (-1, *input_shape)), outputs)
