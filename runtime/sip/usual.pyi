from collections.abc import Sequence

from runtime.context import Address
from runtime.sip.message import Request

def server_key(request: Request) -> str | None: ...
def forwarded(
    request: Request,
    ruri: str,
    own_via: str,
    record_routes: Sequence[str],
    hops: int,
    source: Address,
    unrouted: bool,
) -> bytes | None: ...
def to_tag(request: Request) -> str | None: ...
def reply_head(
    request: Request, status: int, reason: str, source: Address, tag: str, added: str, body: int, routes: bool
) -> bytes | None: ...
