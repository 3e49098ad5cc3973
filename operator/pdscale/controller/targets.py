"""What must hold of a ``scaleTargetRef`` before anything is written: or else the GPU budget is no promise."""

from collections.abc import Mapping

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.controller.observe import Workloads
from pdscale.kube.client import Object
from pdscale.kube.manifests import child_name
from pdscale.kube.targets import TargetUnusable, gpus_of
from pdscale.model.pools import Role


def refuse_own_pools(wanted: ServingDeployment, deployments: Mapping[str, Object]) -> None:
    """Raise if a pool that we made before is still there beside the target: nobody would size it any more."""
    for role in Role:
        ref, name = wanted.spec.pool(role).scale_target_ref, child_name(wanted.metadata.name, role)
        found = deployments.get(name)
        if ref is None or found is None or (ref.kind, ref.name) == ("Deployment", name):
            continue
        owners = {o.get("uid") for o in found["metadata"].get("ownerReferences") or ()}
        if wanted.metadata.uid in owners:
            raise TargetUnusable(
                "OwnPoolRemains",
                f"spec.{role} has a scaleTargetRef, and Deployment {name}, made before, still holds "
                f"GPUs: delete it (kubectl delete deployment {name}) or drop the scaleTargetRef",
            )


def check_gpus(wanted: ServingDeployment, workloads: Workloads) -> None:
    """Raise if a pod of a target asks for more GPUs than ``gpusPerReplica`` counts for its whole replica.

    Less is no fault: a replica may be a group, of which the selector finds the leader only.
    """
    for role, target in workloads.targets.items():
        said, asked = wanted.spec.pool(role).gpus_per_replica, max(map(gpus_of, target.pods), default=0)
        if asked > said:
            raise TargetUnusable(
                "TargetHoldsMoreGPUs",
                f"spec.{role}.gpusPerReplica must be at least {asked}, as much as a pod of {target.title} "
                f"asks for, got {said}",
            )
