"""A scenario from settings and two names: the same objects that router and operator are built of."""

from collections.abc import Callable

from pdscale.model.pools import Targets
from pdscale.perf.profile import Profile
from pdscale.placement.admission import Admission
from pdscale.placement.baselines import AlwaysLocal
from pdscale.placement.correction import Correction
from pdscale.placement.ordering import EarliestDeadline, Sorted
from pdscale.placement.policy import PlacementPolicy
from pdscale.router.policies import PolicyName, QueueOrder, admission_of, placement_policy
from pdscale.scenarios.engines import models_of, setup_of
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.scaling import scaler_of
from pdscale.scenarios.settings import HELD, OrderName, PlacementName, ScalingName, Settings
from pdscale.sim.scenario import Fleet, Scenario
from pdscale.sim.traffic import Traffic


def scenario_of(
    settings: Settings,
    traffic: Traffic,
    *,
    placement: PlacementName,
    scaling: ScalingName,
    begin: Targets | None = None,
) -> Scenario:
    """``begin`` replaces the numbers of replicas that the settings begin with."""
    if placement is PlacementName.COLOCATED and scaling not in HELD:
        raise InvalidScenario(
            f"--placement {placement}: has one pool and takes {', '.join(HELD)} as --scaling, got {scaling}"
        )
    models = models_of(settings)
    fleet = begin or first_fleet(settings, placement)
    return Scenario(
        fleet=Fleet(
            fleet.prefill,
            fleet.decode,
            settings.gpus,
            start_up=settings.start_up,
            standby=settings.standby,
            standby_start_up=settings.standby_start_up,
            flip=settings.flip,
        ),
        prefill=setup_of(settings, models.engine),
        decode=setup_of(settings, models.engine),
        slo=settings.slo,
        placement=_placement(settings, placement, models.profile),
        admission=lambda: _admission(settings),
        scaler=scaler_of(scaling, settings, models.profile, traffic, placement=placement),
        history_moves=settings.history_moves,
        pool_tokens=settings.kv_pool,
        load_age=settings.load_age,
        load_asking=settings.load_asking,
        ttft_stretch=settings.ttft_stretch,
        overhead=settings.overhead,
        gate_seconds=models.profile.prefill_seconds,
    )


def _admission(settings: Settings) -> Admission:
    if settings.order is OrderName.EARLIEST_DEADLINE:
        queue = Sorted(EarliestDeadline())
        return Admission(queue, at_once=settings.admit, reject_late=settings.reject_late)
    order = QueueOrder(settings.order)
    return admission_of(order, admit=settings.admit, reject_late=settings.reject_late)


def first_fleet(settings: Settings, placement: PlacementName) -> Targets:
    """Colocated engines get all GPUs: 2P+3D of one GPU each become 5."""
    if placement is not PlacementName.COLOCATED:
        return settings.fleet
    return Targets(0, settings.gpus.held_by(settings.fleet) // settings.gpus_decode)


def _placement(
    settings: Settings, name: PlacementName, profile: Profile
) -> Callable[[Correction], PlacementPolicy]:
    if name is PlacementName.COLOCATED:
        return lambda _: AlwaysLocal()
    policy = PolicyName(name)
    return lambda correction: placement_policy(
        policy,
        slo=settings.slo,
        profile=profile,
        threshold_tokens=settings.threshold_tokens,
        correction=correction,
    )
