"""Traces of requests for OpenTelemetry, without what a request is about.

Its own middleware writes addresses, which hold ids, and names of browsers into spans. So it is shown a
request of which only the method and the trace that it belongs to are left.
"""

import os

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dotbias.errors import SettingError
from dotbias.extras import install

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACE = (b"traceparent", b"tracestate")
_OWN = "dotbias"
_UNROUTED = "none"


def traced(app: ASGIApp) -> ASGIApp:
    """The application, of which each request is a span where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set.

    Raises:
        SettingError: where it is, and what sends them is not installed.
    """
    if not os.environ.get(ENDPOINT):
        return app
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        name = os.environ.get("OTEL_SERVICE_NAME", "dotbias")
        provider = TracerProvider(resource=Resource.create({"service.name": name}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return Traced(app, provider)
    except ImportError as error:
        raise SettingError(
            f"{ENDPOINT} is set, and {error.name} is not installed: {install('telemetry')}, or unset it"
        ) from None


class Traced:
    """ASGI middleware: a span for each request, with method, route and status.

    Args:
        app: what answers.
        provider: an OpenTelemetry ``TracerProvider``.
    """

    def __init__(self, app: ASGIApp, provider: object) -> None:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        self._app = app
        self._traced = OpenTelemetryMiddleware(
            self._answer,
            default_span_details=lambda scope: (scope["method"], {}),
            tracer_provider=provider,
            exclude_spans=["receive", "send"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        failed: list[Exception] = []
        headers = [header for header in scope["headers"] if header[0] in _TRACE]
        bare = {"type": "http", "method": scope["method"], "headers": headers}
        await self._traced({**bare, _OWN: (scope, failed)}, receive, send)
        for error in failed:
            raise error

    async def _answer(self, bare: Scope, receive: Receive, send: Send) -> None:
        from opentelemetry import trace

        scope, failed = bare[_OWN]

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", _UNROUTED)
                span = trace.get_current_span()
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:  # a span would hold what it says
            failed.append(error)
