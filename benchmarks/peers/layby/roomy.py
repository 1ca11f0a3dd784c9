"""layby, but any number of jobs may wait: by default 10,000 in each process, and what is parked beyond is refused.

python roomy.py run FILE
"""

import workers.policy

# Before anybody else has read it.
workers.policy.DEFAULT_LIMITS = workers.policy.Limits(max_queued=1_000_000, max_pool_queued=1_000_000)

if __name__ == "__main__":
    from runtime.cli import main

    main()
