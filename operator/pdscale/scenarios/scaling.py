"""Scaling rules by name, all with the same bounds, budget, profile and observations.

What operators of HPA and kthena set by hand is set here from the profile and the whole workload, hindsight
that favours them: the target of requests per decode replica is ``utilisation`` times what one carries
within the TPOT limit at the run's mean lengths; kthena's band is half to twice the ratio that the fleet
begins with."""

import math
from collections.abc import Callable

from pdscale.model.pools import Targets
from pdscale.model.workload import NoData
from pdscale.perf.capacity import decode_capacity
from pdscale.perf.profile import Profile
from pdscale.scaling.autoscaler import Autoscaler
from pdscale.scaling.policy import Policy
from pdscale.scaling.rivals.clairvoyant import Clairvoyant, Foresight
from pdscale.scaling.rivals.dopd import DOPD
from pdscale.scaling.rivals.dynamo import DynamoClassic
from pdscale.scaling.rivals.hpa import HPA
from pdscale.scaling.rivals.keda import KEDA
from pdscale.scaling.rivals.kthena import Band, Kthena
from pdscale.scaling.rivals.reactive import FixedRatio, Reactive
from pdscale.scenarios.settings import HELD, PlacementName, ScalingName, Settings
from pdscale.scenarios.traffic import foreseen
from pdscale.sim.scaler import LiveScaler, Scaler
from pdscale.sim.traffic import Traffic

RATIO_BAND = 2.0


def scaler_of(
    name: ScalingName, settings: Settings, profile: Profile, traffic: Traffic, *, placement: PlacementName
) -> Callable[[], Scaler] | None:
    """``None`` for rules that keep the numbers they begin with."""
    if name in HELD:
        return None
    limits, slo, lead = settings.limits, settings.slo, settings.start_up + 15.0
    match name:
        case ScalingName.FIXED_RATIO:
            return lambda: FixedRatio(limits, profile, slo, settings.fleet)
        case ScalingName.HPA:
            streams = streams_target(settings, profile, traffic)
            return lambda: HPA(limits, streams, settings.utilisation)
        case ScalingName.KTHENA:
            streams, band = streams_target(settings, profile, traffic), _band(settings.fleet)
            return lambda: Kthena(limits, band, streams, settings.utilisation)
        case ScalingName.KEDA:
            return lambda: KEDA(limits, profile, slo)
        case ScalingName.DYNAMO_CLASSIC:
            return lambda: DynamoClassic(limits, profile, slo)
        case ScalingName.REACTIVE:
            return lambda: Reactive(limits, profile, slo)
        case ScalingName.DOPD:
            return lambda: DOPD(limits, profile, slo, lead)
        case ScalingName.CLAIRVOYANT:
            future = foreseen(traffic, pace=settings.tpot / 2)
            return lambda: Clairvoyant(limits, profile, slo, future, 2 * lead)
    return lambda: LiveScaler(_ours(settings), policy_of(settings, profile, placement=placement))


def policy_of(
    settings: Settings, profile: Profile, *, placement: PlacementName = PlacementName.COST_BASED
) -> Policy:
    """The operator's policy as a ServingDeployment with these settings would give it."""
    limits = settings.limits
    return Policy(
        slo=settings.slo,
        prefill=limits.prefill,
        decode=limits.decode,
        gpus=limits.gpus,
        gpu_budget=limits.budget,
        profile=profile,
        forecast_model=settings.forecast,
        quantile=settings.quantile,
        start_up_prefill=settings.start_up,
        start_up_decode=settings.start_up,
        interval=settings.interval,
        scale_down_window=settings.scale_down_window,
        flip=settings.flip,
        spare=Targets(settings.spare_prefill, settings.spare_decode),
        reserved_gpus=settings.reserved_gpus,
        either_prefills=placement is PlacementName.COST_BASED,
    )


def streams_target(settings: Settings, profile: Profile, traffic: Traffic) -> float:
    """Requests per decode replica that an operator of an HPA would have found by load tests; at least 1."""
    workload = Foresight.between(foreseen(traffic, pace=settings.pace), 0.0, math.inf)
    if isinstance(workload, NoData):
        return 1.0
    streams = decode_capacity(workload, profile, settings.slo).streams
    return max(1.0, settings.utilisation * min(streams, float(profile.max_sequences)))


def _ours(settings: Settings) -> Autoscaler:
    from pdscale_forecaster import Remembered  # only this rule needs it

    return Autoscaler(predict=Remembered())


def _band(base: Targets) -> Band:
    ratio = max(base.prefill, 1) / max(base.decode, 1)
    return Band(ratio / RATIO_BAND, ratio * RATIO_BAND)
