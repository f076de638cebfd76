"""`python -m jaxemb` is `jaxemb`."""

import os
import sys

if __name__ == "__main__":
    # Python puts the current folder first. It may be anybody's, a run's for instance: none of its code is wanted.
    here = os.getcwd()
    if not sys.flags.safe_path and sys.path and sys.path[0] == here and here != os.path.dirname(os.path.dirname(__file__)):
        del sys.path[0]

    from jaxemb.cli import main

    sys.exit(main())
