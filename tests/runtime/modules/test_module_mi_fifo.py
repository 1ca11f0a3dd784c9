"""The named pipe's parameters."""

import pytest

from runtime.modules.mi_fifo import MiFifo
from runtime.settings import SettingsError


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_its_owner_reads_and_writes_and_others_may(mode):
    assert MiFifo({"fifo_mode": mode}).settings["fifo_mode"] == mode


@pytest.mark.parametrize("mode", [0, 666, 0o060, 0o777, -1])
def test_another_mode_is_refused(mode):
    with pytest.raises(SettingsError, match="not 0600 to 0666"):
        MiFifo({"fifo_mode": mode})
