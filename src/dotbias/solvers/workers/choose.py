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
    if cluster == "processes":
        from dotbias.solvers.workers.processes import Processes

        return Processes(n_workers or 2, plan, spec)
    if cluster == "ray" or cluster.startswith("ray://") or cluster == "auto":
        from dotbias.solvers.workers.ray_actors import RayActors

        return RayActors(None if cluster == "ray" else cluster, n_workers, plan, spec)
    raise SettingError(
        f"cluster={cluster!r}: cluster must be 'processes' (of this machine), 'ray' (which is started "
        "here), 'auto' (one that is there) or 'ray://host:10001'"
    )
