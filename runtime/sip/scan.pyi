from collections.abc import Iterable

from runtime.sip.fields import Via
from runtime.sip.message import Reply, Request

def learn(
    known: dict[str, str],
    params: Iterable[str],
    limits: tuple[int, int, int],
    classes: tuple[type[Request], type[Reply], type[Via]],
) -> None: ...
def scan(data: bytes) -> Request | Reply | None: ...
