"""The interpreter in which machines are simulated: orders on standard input, what became of them on standard output.

Start it with PYTHONHASHSEED=0, or the order of what stands in sets differs from one interpreter to the next.

An order is one line of JSON, and so is the answer (`runtime.simulation.run`). Arguments: ``--folder=PATH``, an
empty one for what runs share; ``--cpu=N`` to keep to one CPU; ``module:function`` for what is to be called before the
first run.

Each run is a fork of this process, so that it begins with everything loaded and leaves nothing behind.
"""

from __future__ import annotations

import sys

from runtime.simulation import clock

clock.install()

# After that: many modules keep the clock's functions under names of their own.
from runtime.simulation import stepping  # noqa: E402

stepping.install()

from runtime.simulation import kernel, outside  # noqa: E402

kernel.install()
outside.install()

from runtime.simulation import sharing  # noqa: E402

sharing.install()

from runtime.simulation.serving import prepare, serve  # noqa: E402

if __name__ == "__main__":
    sys.exit(serve(prepare(sys.argv[1:]), sys.stdin.buffer, sys.stdout.buffer))
