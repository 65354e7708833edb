"""Channels by which notices of promotions, rejections, rollbacks and failures are told.

To add one: a file with a subclass of `Channel`, and an entry in `CHANNELS`; a key of that name in
`notices` of params.yaml sets it. What calls them (`stpa.stages.delivery`) forgets no notice: one
that does not arrive is sent again.
"""

from collections.abc import Iterator, Mapping

from stpa.channels.base import Channel, DeliveryError
from stpa.channels.command import Command
from stpa.channels.file import File
from stpa.channels.webhook import Webhook

__all__ = ["CHANNELS", "Channel", "DeliveryError", "find_wrong_channels"]

CHANNELS: dict[str, Channel] = {"webhook": Webhook(), "command": Command(), "file": File()}


def find_wrong_channels(notices: Mapping[str, object]) -> Iterator[str]:
    """Say what is wrong with the section `notices`, but for its types."""
    for name, setting in notices.items():
        if name not in CHANNELS:
            yield f"notices.{name} is unknown: choose from {', '.join(CHANNELS)}"
        elif isinstance(setting, str):
            try:
                CHANNELS[name].check(setting)
            except ValueError as error:
                yield f"notices.{name} {error}"
