"""What all places where training can run have in common."""

from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import Executor

import numpy as np

from nntune.workers.tasks import Shared


class Place(Executor):
    """An executor whose calls find the examples wherever they run.

    A call whose worker died ends with BrokenExecutor; the place is then ready for the next one.
    """

    @property
    @abstractmethod
    def count(self) -> int:
        """How many calls run at once, at this moment; 0 says that this process runs them itself."""

    @abstractmethod
    def put(self, arrays: Mapping[str, np.ndarray]) -> Shared:
        """Brings arrays to all workers, to those that come later too."""

    def renew(self) -> None:
        """Ends all calls, whatever they do, so that new workers take the next ones.

        A place whose workers cannot hang does nothing.
        """

    @abstractmethod
    def end(self) -> None:
        """Ends all calls, whatever they do, and takes the arrays away."""
