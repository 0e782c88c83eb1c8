"""`tumorline up`: the services."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from workflow.commands._shared import ConfigOption, log_to_stderr, messages

if TYPE_CHECKING:
    from workflow.ports import Users
    from workflow.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("up")
    def up_command(
        config: ConfigOption = None,
        only: Annotated[
            list[str] | None,
            typer.Option("--only", help="Run just this service, in this process (for containers)."),
        ] = None,
    ) -> None:
        """Run the services: DICOM listener, worker, reconciler, web page, and what the settings ask for.

        Without settings everything is embedded: SQLite, a broker that needs no server, and a local
        DICOM archive in place of a PACS. Ctrl-C ends all. Received studies, results and logs are in the
        home folder (`tumorline config` shows it).

        Examples:

            TUMORLINE_LISTENER__ALLOWED_CALLING_AE_TITLES='["CT1"]' tumorline up

            tumorline up --config site.toml

            tumorline up --config site.toml --only worker

            TUMORLINE_WORKER__QUEUES='["inference"]' tumorline up --config site.toml --only worker
        """
        import os

        from workflow.bootstrap import build
        from workflow.engine.services import (
            Supervisor,
            check_exposure,
            run_service,
            service_of,
            wanted_services,
        )
        from workflow.engine.start import alone, check_ports
        from workflow.settings import load_settings

        settings = load_settings(config)
        log_to_stderr(verbose=True)
        check_exposure(settings)
        for name in only or []:
            service_of(name, settings)  # refused by name before any starts
        if only and len(only) == 1:
            check_ports(only, settings)
            run_service(only[0], settings)
            return
        names = only or wanted_services(settings)
        environment = {"TUMORLINE_CONFIG": str(config.resolve())} if config else {}
        supervisor = Supervisor(names, settings, {**os.environ, **environment})
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        context = build(settings)
        with alone(settings.home):
            check_ports(names, settings)
            try:
                supervisor.start()
                supervisor.wait_until_ready(stop=stop)
                for what, where in addresses(settings, context.users):
                    messages.print(f"{what:<15} {where}", markup=False, soft_wrap=True)
                messages.print("Ctrl-C ends all services.")
                while not stop.wait(1.0):
                    supervisor.check()
            finally:
                supervisor.stop()


NOBODY_MAY_SEND = "nobody, every sender is refused: set listener.allowed_calling_ae_titles"


def addresses(settings: Settings, users: Users) -> list[tuple[str, str]]:
    """What a person needs to use the services: what, and where it is."""
    from workflow.engine.first_account import how_to_log_in

    listener, web = settings.listener, settings.web
    over_tls = " over TLS" if listener.tls_certificate else ""
    lines = [
        ("DICOM listener", f"{listener.ae_title}@{listener.host}:{listener.port}{over_tls}"),
        ("who may send", ", ".join(listener.allowed_calling_ae_titles) or NOBODY_MAY_SEND),
        ("web page", f"http://{web.host}:{web.port}/"),
    ]
    if web.login:
        lines.append(("login", how_to_log_in(users, settings)))
    return [*lines, ("home", str(settings.home))]
