from collections.abc import Callable

from runtime.context import Address

class Intake:
    late: int
    def __init__(
        self, fd: int, mark: memoryview, make: type[Address], late_ns: int, stamp: int, reading: int
    ) -> None: ...
    def take(self) -> tuple[bytes, Address] | None: ...

class Outlet:
    def __init__(self, fd: int, family: int, otherwise: Callable[[bytes, Address], bool]) -> None: ...
    def send(self, data: bytes, to: Address) -> bool: ...
