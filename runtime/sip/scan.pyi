from runtime.sip.fields import NameAddr, Via
from runtime.sip.message import Reply, Request

def learn(
    known: dict[str, str],
    params: frozenset[str],
    limits: tuple[int, int, int],
    classes: tuple[type[Request], type[Reply], type[Via], type[NameAddr]],
) -> None: ...
def name_addr(written: str) -> NameAddr | None: ...
def scan(data: bytes) -> Request | Reply | None: ...
