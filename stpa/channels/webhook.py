"""Notices by POST, as chats take them."""

import os
import re
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from stpa.channels.base import Channel, DeliveryError
from stpa.errors import one_line
from stpa.redaction import hide_path
from stpa.workspace import Workspace

ANSWER_SECONDS = 10.0


class Webhook(Channel):
    """An http(s) address that takes JSON; `$NAME` in it is taken from the environment."""

    def check(self, setting: str) -> None:
        if not re.match(r"https?://[^/]|\$", setting):
            raise ValueError("must begin with http:// or https://, or be $NAME")

    def send(self, workspace: Workspace, setting: str, line: str) -> None:
        address = os.path.expandvars(setting)
        if not address.startswith(("http://", "https://")):
            raise DeliveryError(f"{setting} names no http(s) address: set it in the environment")
        headers = {"Content-Type": "application/json; charset=utf-8"}
        request = Request(address, line.encode(), headers, method="POST")
        shown = hide_path(address)
        try:
            with urlopen(request, timeout=ANSWER_SECONDS):
                return
        except HTTPError as error:
            raise DeliveryError(f"{shown} answers {error.code} {error.reason}") from error
        except (OSError, HTTPException, ValueError) as error:
            told = one_line(error).replace(address, shown)
            raise DeliveryError(f"{shown} does not answer: {told}") from error
