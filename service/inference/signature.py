"""What a view takes and answers: names, datatypes and shapes, as the metadata and configuration routes show them."""

from dataclasses import dataclass
from typing import Any, Final

from service.inference.views import View

PLATFORM: Final = "levelset"
INPUT: Final = "input"
INPUT_UINT8: Final = "input_uint8"
IMAGE: Final = "image"
_CONFIGURED: Final = {"BYTES": "TYPE_STRING"}  # the others are TYPE_ and their own name


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, datatype and shape of a tensor; -1 stands for the rows of a request."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the tensor as metadata writes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}

    def to_config(self) -> dict[str, Any]:
        """Return the tensor as a model configuration writes it, without the axis of rows."""
        entry: dict[str, Any] = {
            "name": self.name,
            "data_type": _CONFIGURED.get(self.datatype, f"TYPE_{self.datatype}"),
            "dims": list(self.shape[1:]) or [1],
        }
        # Dimensions may not be empty there: one number per row is [1], taken away again.
        return entry if len(self.shape) > 1 else entry | {"reshape": {"shape": []}}


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs of one view; a request sends exactly one of the inputs.

    Attributes:
        inputs: the alternatives.
        outputs: what can be asked for, in the order it is sent.
        members: M for an ensemble's own view, None for views that have no members to choose.
        fixed_mode: the mode an operator set, which requests cannot choose away from; None where they may.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    members: int | None = None
    fixed_mode: str | None = None

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in the order they are sent."""
        return tuple(output.name for output in self.outputs)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(C, H, W)` of one row."""
        return self.inputs[0].shape[1:]

    def input(self, name: str) -> TensorSpec | None:
        """Return the input of that name, None where there is none."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def to_config(self, name: str, *, max_rows: int) -> dict[str, Any]:
        """Return the model configuration.

        Args:
            name: the view's name.
            max_rows: rows one request may hold.
        """
        return {
            "name": name,
            "platform": PLATFORM,
            "max_batch_size": max_rows,
            "input": [spec.to_config() | {"optional": True} for spec in self.inputs],
            "output": [spec.to_config() for spec in self.outputs],
        }


def signature_of(
    view: View, *, input_shape: tuple[int, ...], num_classes: int, members: int, fixed_mode: str | None = None
) -> Signature:
    """Return what `view` takes and answers.

    Args:
        view: the addressed model.
        input_shape: `(C, H, W)`.
        num_classes: K.
        members: M.
        fixed_mode: the mode an operator set for good.
    """
    inputs = (
        TensorSpec(INPUT, "FP32", (-1, *input_shape)),
        TensorSpec(INPUT_UINT8, "UINT8", (-1, *input_shape)),
        TensorSpec(IMAGE, "BYTES", (-1,)),
    )
    single = (
        TensorSpec("probabilities", "FP32", (-1, num_classes)),
        TensorSpec("logits", "FP32", (-1, num_classes)),
        TensorSpec("labels", "INT64", (-1,)),
        TensorSpec("entropy", "FP32", (-1,)),
    )
    if view.kind != "ensemble":
        return Signature(inputs, single)
    several = (
        TensorSpec("member_probabilities", "FP32", (-1, members, num_classes)),
        TensorSpec("member_labels", "INT64", (-1, members)),
        TensorSpec("disagreement", "FP32", (-1,)),
        TensorSpec("mutual_information", "FP32", (-1,)),
    )
    return Signature(inputs, single + several, members, fixed_mode)
