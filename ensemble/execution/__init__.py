"""How M members run: the layers before the first changed one once, the rest per member.

Ideal cost is tau + M (1 - tau) forward passes, tau the shared prefix's share of the work.
"""

from ensemble.execution.choice import PLANS, MeasuredChoice, fixed_plan, plan_named
from ensemble.execution.cost import ideal_cost, shared_share
from ensemble.execution.graphed import GraphedPlan
from ensemble.execution.grouped import GroupedPlan
from ensemble.execution.loop import LoopPlan
from ensemble.execution.precision import ChannelsLastPlan, ReducedPrecisionPlan
from ensemble.execution.program import Plan, Program, StackedLayer, program
from ensemble.execution.vectorised import VmapPlan

__all__ = [
    # values
    "Plan",
    "Program",
    "StackedLayer",
    "program",
    # plans
    "ChannelsLastPlan",
    "GraphedPlan",
    "GroupedPlan",
    "LoopPlan",
    "ReducedPrecisionPlan",
    "VmapPlan",
    # choosing
    "PLANS",
    "MeasuredChoice",
    "fixed_plan",
    "plan_named",
    # cost
    "ideal_cost",
    "shared_share",
]
