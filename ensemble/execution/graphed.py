"""Small batches on a GPU as one launch: a plan captured in a CUDA graph per input shape.

Inference only: a captured graph has fixed addresses and no autograd. Weights must not move while graphs are held, so a
`GraphedPlan` belongs to one program and is dropped with it.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ensemble.errors import InputError
from ensemble.execution.program import Plan, Program

#: Shapes whose graphs are kept; the least recently used goes first.
CAPACITY = 16
WARM_UP = 3


@dataclass(slots=True, eq=False)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    logits: Tensor


@dataclass(slots=True, eq=False)
class GraphedPlan:
    """Replays another plan's kernels.

    Attributes:
        plan: the plan that is captured.
        max_rows: larger batches run the plan itself: they keep the GPU busy without help.
    """

    plan: Plan
    max_rows: int = 64
    _captured: OrderedDict[tuple[int, tuple[int, ...], str], _Captured] = field(default_factory=OrderedDict)
    _program: Program | None = None

    @property
    def name(self) -> str:
        """Return the plan's name."""
        return f"graphed {self.plan.name}"

    def run(self, program: Program, x: Tensor, members: slice) -> Tensor:
        """Return logits `[member batch classes]`, without gradients.

        Raises:
            InputError: the inputs are not on a CUDA device.
        """
        if x.device.type != "cuda":
            raise InputError(f"graphed plan: expected inputs on a CUDA device, got {x.device}; use the plan itself")
        if len(x) > self.max_rows:
            with torch.inference_mode():
                return self.plan.run(program, x, members)
        if program is not self._program:
            self._captured.clear()
            self._program = program
        key = (len(x), members.indices(program.size), str(x.dtype))
        if key not in self._captured:
            self._captured[key] = self._capture(program, x, members)
            if len(self._captured) > CAPACITY:
                self._captured.popitem(last=False)
        self._captured.move_to_end(key)
        captured = self._captured[key]
        captured.inputs.copy_(x)
        captured.graph.replay()
        return captured.logits.clone()

    def _capture(self, program: Program, x: Tensor, members: slice) -> _Captured:
        inputs = x.detach().clone()
        stream = torch.cuda.Stream(x.device)
        stream.wait_stream(torch.cuda.current_stream(x.device))
        with torch.no_grad(), torch.cuda.stream(stream):
            # Libraries choose their kernels and workspaces before the capture.
            for _ in range(WARM_UP):
                self.plan.run(program, inputs, members)
        torch.cuda.current_stream(x.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            logits = self.plan.run(program, inputs, members)
        return _Captured(graph, inputs, logits)
