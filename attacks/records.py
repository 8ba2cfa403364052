"""What shards write about an attack: one JSON record per run, read by `attacks.findings`.

Verdicts are strings of 0 and 1 per radius the run attacked, "1" where the answer is still right.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from attacks.cascade import Cascade
from attacks.crafting import Made
from attacks.ladder import Crafted
from attacks.transfer import TransferBlock
from attacks.verdicts import to_bits

Record = dict[str, Any]


def _bits(flags: Tensor) -> list[str]:
    return [to_bits(rung) for rung in flags]


def crafted_record(attack: str, made: Made, held: Mapping[str, Tensor], kept: Sequence[Record]) -> Record:
    """Return the record of examples made without the target.

    Args:
        attack: the row's id.
        made: all draws.
        held: judge -> `[epsilon batch]`, over all draws.
        kept: the records of the examples, one per draw.
    """
    fooled = torch.stack([draw.fooled for draw in made.draws]).any(0)
    return {
        "attack": attack,
        "judge": "base",
        "held": {name: _bits(flags) for name, flags in held.items()},
        "in_attack": _bits(~fooled),
        "excess": [max(values) for values in zip(*(draw.excess for draw in made.draws), strict=True)],
        "finite": all(draw.finite for draw in made.draws),
        "examples": list(kept),
        "forwards": made.forwards,
        "backwards": made.backwards,
        "queries": 0,
    }


def subset_record(attack: str, judge: str, crafted: Crafted, held: Mapping[str, Tensor], in_attack: Tensor) -> Record:
    """Return the verdicts of a cold run; its costs, points and radii are added by who ran it.

    Args:
        attack: the row's id.
        judge: the network attacked.
        crafted: its examples.
        held: judge -> `[epsilon batch]`.
        in_attack: `[epsilon batch]`, the verdict of the path attacked.
    """
    return {
        "attack": attack,
        "judge": judge,
        "held": {name: _bits(flags) for name, flags in held.items()},
        "in_attack": _bits(in_attack),
        "excess": list(crafted.excess),
        "finite": crafted.finite,
    }


def transfer_records(attack: str, block: TransferBlock, kept: Record) -> list[Record]:
    """Return one record per member whose examples were judged.

    Args:
        attack: the row's id; each record's is `id:member`.
        block: verdicts and costs.
        kept: the record of all examples.
    """
    share = len(block.sources)
    records = []
    for number, (source, rows) in enumerate(zip(block.sources, block.held, strict=True)):
        held = {judge: _bits(flags[None]) for judge, flags in zip(block.judges, rows, strict=True)}
        records.append(
            {
                "attack": attack,
                "source": source,
                "judge": source,
                "held": held,
                "in_attack": held[source],
                "excess": [block.crafted.excess],
                "finite": block.crafted.finite,
                "examples": [kept] if number == 0 else [],
                "forwards": block.crafted.forwards // share,
                "backwards": block.crafted.backwards // share,
                "queries": 0,
            }
        )
    return records


def cascade_records(judge: str, members: Sequence[str], run: Cascade, kept: Record) -> list[Record]:
    """Return one record per attack of a cascade; the first also says which points fell to examples made elsewhere.

    Args:
        judge: the network attacked.
        members: the names of its members where their verdicts were asked for.
        run: the finished cascade.
        kept: the record of its examples.
    """
    records = []
    for number, (name, trace) in enumerate(run.traces.items()):
        held = {judge: _bits(~trace.fooled)}
        if trace.members is not None:
            held = {judge: _bits(trace.members.all(1))}
            held |= {member: _bits(trace.members[:, index]) for index, member in enumerate(members)}
        records.append(
            {
                "attack": name,
                "judge": judge,
                "held": held,
                "attempted": _bits(trace.attempted),
                "broken": _bits(trace.fooled),
                "in_attack": _bits(~trace.in_attack),
                "excess": trace.excess,
                "finite": trace.finite,
                "examples": [kept] if number == 0 else [],
                "started": _bits(run.started) if number == 0 else [],
                "forwards": trace.forwards,
                "backwards": trace.backwards,
                "queries": 0,
            }
        )
    return records
