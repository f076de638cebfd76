"""The command line. Whatever is heavy is imported by the verb that needs it: `jaxemb --help` is instant."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from jaxemb import packages
from jaxemb.cli.launch import run_processes
from jaxemb.cli.parser import parser
from jaxemb.cli.process import choose_devices, compute_in_the_calling_thread, leave_out_libtpu, left, restart_with_huge_pages
from jaxemb.log.table import error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; the exit status is 0, 2 for what the user can mend, 70 where other processes are lost, 130 after
    Ctrl-C."""
    commands = parser()
    args, unknown = commands.parse_known_args(argv)
    if unknown:
        apart = "" if not any("=" in x for x in unknown) else " (each change has a --set of its own: --set a=1 --set b=2)"
        commands.error(f"unrecognized arguments: {' '.join(unknown)}{apart}")
    if argv is None:
        leave_out_libtpu()
        restart_with_huge_pages(args)
        compute_in_the_calling_thread(args)
    try:
        if args.project:
            packages.use_project(args.project)
        if getattr(args, "processes", None) is not None:
            return run_processes(args.processes, sys.argv[1:] if argv is None else argv)
        choose_devices(args)
        args.verb(args)
        return 0
    except KeyboardInterrupt:
        return left(130)
    except BrokenPipeError:  # jaxemb list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as e:
        if args.debug or not for_the_user(e):
            raise
        error(str(e) if not isinstance(e, OSError) else f"{e.strerror or e}: {e.filename}" if e.filename else str(e))
        return left(getattr(e, "status", 2))


def for_the_user(e: Exception) -> bool:
    """Error classes of this package or of the user's own, and what the disk refuses. The rest are bugs, with a traceback."""
    module = type(e).__module__
    return isinstance(e, OSError) or (module.startswith(("jaxemb.", "experiments.")) or packages.is_allowed(module))
