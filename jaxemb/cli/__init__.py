"""The command line. Whatever is heavy is imported by the verb that needs it: `jaxemb --help` is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from jaxemb.cli.parser import parser
from jaxemb.cli.process import choose_devices, restart_with_huge_pages
from jaxemb.log.table import error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; the exit status is 0, 2 for what the user can mend, 130 after Ctrl-C."""
    args = parser().parse_args(argv)
    if argv is None:
        restart_with_huge_pages(args)
    # Experiment files define classes that stored configs name as experiments.<folder>.<file>:Class.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        choose_devices(args)
        args.verb(args)
        return 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # jaxemb list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as e:
        # Errors for users are classes of this package (or of an experiment file); anything else is a bug and shows its traceback.
        if args.debug or not type(e).__module__.startswith(("jaxemb.", "experiments.")):
            raise
        error(str(e))
        return 2
