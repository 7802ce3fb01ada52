"""Which kind of workers a setting asks for."""

from typing import Any

from dotbias.errors import SettingError
from dotbias.solvers.workers.blocks import Plan
from dotbias.solvers.workers.exchange import Exchange


def exchange_of(cluster: str, n_workers: int | None, plan: Plan, spec: dict[str, Any]) -> Exchange:
    """The workers that a setting names, not started.

    Raises:
        SettingError: for a cluster that there is not.
    """
    from dotbias.solvers.workers.processes import Processes

    if cluster != Processes.name:
        raise SettingError(f"cluster={cluster!r}: cluster must be 'processes'")
    n = min(n_workers or 2, plan.n_blocks)
    return Processes(n, plan, spec)
