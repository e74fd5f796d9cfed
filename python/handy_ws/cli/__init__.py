"""The command line: ``handy-ws serve package.module:server``.

It needs click, which is an extra, so nothing here is imported by the rest of the package. What a
program gives to be served is found and understood in `target.py`, the options are made of the
fields of the config in `options.py`, and `reload.py` is the parent of a server that is restarted.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line on `sys.argv`, and exit."""
    try:
        from handy_ws.cli.commands import cli  # noqa: PLC0415 - it may not be there
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("The command line needs click: pip install 'handy-ws[cli]'")
    cli()
