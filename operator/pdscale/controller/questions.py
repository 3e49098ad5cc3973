"""The commands of people by name: the command line lists them without importing what answers them."""

from collections.abc import Mapping
from typing import Final

QUESTIONS: Final[Mapping[str, str]] = {
    "explain": "say why a ServingDeployment has its sizes, and what would change them",
    "approve": "let the operator carry out what it proposes (scaling.mode: Approve)",
    "take": "give the replicas back to the operator after somebody else has set them",
}

DASHBOARD: Final = "dashboard"
SHOWS: Final = "show pools, forecasts, plans and sessions in a browser, through the kubeconfig"
INTERRUPTED: Final = 130  # what shells report for Ctrl-C
