"""What workers need, for the process that they fork from to import.

The collector would go through torch's objects again and again while they are made, a tenth of the
import's time. Frozen ones it never looks at: their pages stay those of all workers.
"""

import gc

from nntune import deferred

gc.disable()
deferred.defer()

import nntune.training  # noqa: E402, F401

gc.freeze()
gc.enable()
