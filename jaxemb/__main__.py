"""`python -m jaxemb` is `jaxemb`."""

import sys

from jaxemb.cli import main

sys.exit(main())
