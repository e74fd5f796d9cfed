"""The commands themselves: what they are told, and what they tell.

A server ends with status 0 when SIGINT or SIGTERM comes, whether it is a person or a service
manager who sends it. Before it serves, a signal ends the process as signals do, with 128 and its
number; nobody is shown a traceback for it. Wrong arguments give 2, everything else that fails 1.
"""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from handy_ws.cli.options import config_options, configured
from handy_ws.cli.reload import Parent, serve_reloading
from handy_ws.cli.target import ProgramError, TargetError, find_target, make_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from handy_ws.config import ServerConfig
    from handy_ws.http.server import HttpServer

__all__ = ["cli"]

_logger = logging.getLogger("handy_ws")

_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="handy-ws", message="handy-ws %(version)s")
def cli() -> None:
    """WebSockets and HTTP for Python programs written with ordinary threads."""


@cli.command()
@click.argument("target", metavar="MODULE:NAME")
@click.option("--factory", is_flag=True, help="Call NAME, without arguments, for what to serve.")
@click.option("--wsgi", is_flag=True, help="Take it for a WSGI application without looking.")
@click.option("--reload", is_flag=True, help="Start again whenever a file of the program changes.")
@click.option(
    "--reload-dir",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Watch this directory, with all below it, instead of the current one.",
)
@click.option(
    "--reload-include",
    multiple=True,
    metavar="PATTERN",
    help="Watch files with such names too, for example '*.html', and not only '*.py'.",
)
@click.option(
    "--log-level",
    type=click.Choice(_LOG_LEVELS, case_sensitive=False),
    help="What to log of the server, on standard error. Default info.",
)
@click.option(
    "--access-log/--no-access-log",
    default=True,
    help="Whether to log requests, on standard error. Default yes.",
)
@click.pass_context
def serve(  # noqa: PLR0913 - one for each option
    context: click.Context,
    /,
    *,
    target: str,
    factory: bool,
    wsgi: bool,
    reload: bool,
    reload_dir: tuple[str, ...],
    reload_include: tuple[str, ...],
    log_level: str | None,
    access_log: bool,
    **_fields: Any,
) -> None:
    """Serve NAME, which MODULE has, until Ctrl-C.

    NAME is an HttpServer, or a handler, or a WSGI application such as Flask's or Django's. The
    module is looked for in the current directory first. What options say takes the place of what
    the program's ServerConfig says.
    """
    parent = Parent.of_this_process()
    if reload and parent is None:
        sys.exit(serve_reloading(reload_dir or (".",), reload_include))
    signals = _Signals()

    def configure(config: ServerConfig) -> ServerConfig:
        config = configured(config, context)
        return config if parent is None else parent.with_same_port(config)

    with _telling_what_is_wrong(context):
        found = find_target(target, factory=factory)
        # Not before, or the program could not set up logging as it likes.
        _set_up_logging(log_level, is_access_wanted=access_log)
        server = make_server(found, configure, wsgi=wsgi)
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except OSError as error:
            raise click.ClickException(error.strerror or str(error)) from None
        signals.is_serving = True
        if server.config.tls is not None:
            signal.signal(signal.SIGHUP, lambda *_: _reload_tls(server))
        if parent is not None:
            parent.is_told(server)
        click.echo(f"Serving on {_url(server)}")
        server.wait()


@contextmanager
def _telling_what_is_wrong(context: click.Context) -> Iterator[None]:
    """End the process if there is nothing to serve, and say why."""
    try:
        yield
    except TargetError as error:
        raise click.BadParameter(str(error), context, param_hint="MODULE:NAME") from None
    except ProgramError as error:
        traceback.print_exception(error.__cause__)
        sys.exit(1)


class _Signals:
    """What SIGINT and SIGTERM do whenever `HttpServer.wait` does not deal with them.

    Attributes:
        is_serving: whether it is no failure to end now.
    """

    def __init__(self) -> None:
        self.is_serving = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)

    def _end(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        sys.exit(0 if self.is_serving else 128 + number)


def _reload_tls(server: HttpServer) -> None:
    """Have new connections get the certificate that is in the files by now, as SIGHUP asks."""
    try:
        server.reload_tls()
    except ValueError as error:
        # It serves on with what it has: whoever is connected has nothing to do with that.
        message = "the server has not read its TLS certificate anew: %s"
        _logger.error(message, error)  # noqa: TRY400 - the file is at fault, not a line of code


def _set_up_logging(level: str | None, *, is_access_wanted: bool) -> None:
    """Have what is logged shown, unless the program sees to that itself."""
    access = logging.getLogger("handy_ws.access")
    if not is_access_wanted:
        access.setLevel(logging.WARNING)
    elif not (access.handlers or logging.getLogger().handlers):
        # Its lines are whole as they are, and have a time of their own.
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        access.addHandler(handler)
        access.setLevel(logging.INFO)
        access.propagate = False
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    if level is not None:
        logging.getLogger("handy_ws").setLevel(level.upper())


def _url(server: HttpServer) -> str:
    address = server.address
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address
    scheme = "http" if server.config.tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


serve.params[1:1] = config_options()
