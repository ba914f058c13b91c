"""Metering: what a provider's answer says was used, whole or as a stream, in the one form of ``gateway.usage``.

Pure: no input or output, no clock. Invariants: what the provider reports is never replaced by a guess, an explicit zero
included; a field that is not zero and that nobody here knows is named in ``Usage.unknown``; the tier is the one that
served the call, never the one that was asked for.
"""

from gateway.metering.answers import finish_reasons, meter_answer
from gateway.metering.streams import DONE, StreamMeter
from gateway.metering.tiers import asked_tier
from gateway.metering.visible import TEXT_CHARACTERS_MAX

__all__ = ["DONE", "TEXT_CHARACTERS_MAX", "StreamMeter", "asked_tier", "finish_reasons", "meter_answer"]
