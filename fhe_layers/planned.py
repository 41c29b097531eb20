"""What every plan says, of linear models and of networks."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.bounds import Bounds
from protocol.model import Profile
from protocol.parameters import CkksParameters


@dataclass(frozen=True)
class PlannedProfile:
    """Parameters and what they are worth.

    Attributes:
        profile: packing, CKKS parameters, flooding and rescaling, as the model card carries them.
        bounds: error, margins and precision, as every party recomputes them.
    """

    profile: Profile
    bounds: Bounds

    @property
    def parameters(self) -> CkksParameters:
        """The CKKS parameters."""
        return self.profile.parameters

    @property
    def precision_bits(self) -> float:
        """-log2 of the error bound of a released value, in units of the output."""
        return self.bounds.precision_bits

    @property
    def error_bound(self) -> float:
        """Error bound of a released value; times the model's unit it is in the output's own."""
        return self.bounds.released_error

    @property
    def no_wrap_margin_bits(self) -> float:
        """log2(Q/2) minus log2 of the largest phase, the least over all tensors."""
        return self.bounds.no_wrap_bits

    @property
    def flooding_distance_log2(self) -> float:
        """log2 of the statistical distance that flooding leaves; -inf for public models."""
        return self.bounds.flooding_distance_log2
