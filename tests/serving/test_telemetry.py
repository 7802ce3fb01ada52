"""Traces say which call, and never of whom or what."""

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

from dotbias.errors import SettingError
from dotbias.serving.app import make_app
from dotbias.serving.gate import Gate, Limits
from dotbias.serving.service import Service, load
from dotbias.serving.store.database import Database
from dotbias.serving.store.store import Store
from dotbias.serving.telemetry import ENDPOINT, Traced


def test_without_an_endpoint_there_is_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    service = Service(load(model), Store(Database(tmp_path / "r.db")))
    assert isinstance(make_app(service, limits=Limits(), needs_key=False), Gate)
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SettingError, match="telemetry"):
        make_app(service, limits=Limits(), needs_key=False)
    asyncio.run(service.close())


def test_spans_hold_no_ids_titles_and_ratings(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.instrumentation.asgi")
    export = pytest.importorskip("opentelemetry.sdk.trace.export")
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    spans, provider = memory.InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(spans))

    async def run() -> None:
        service = Service(load(model), Store(Database(tmp_path / "r.db")))
        app = Traced(make_app(service, limits=Limits(), needs_key=False), provider)
        headers = {"user-agent": "7654321", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        through = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=through, base_url="http://x") as client:
            path = "/v1/users/7654321/ratings/7654321"
            await client.put(path, json={"rating": 4.5}, headers=headers)
            await client.get("/v1/items?query=7654321")
            await client.get("/7654321")

            async def fail(_: str) -> None:
                raise RuntimeError("7654321")

            service.person = fail  # type: ignore[assignment, method-assign]
            await client.get("/v1/users/7654321/ratings")
        await service.close()

    asyncio.run(run())
    found = spans.get_finished_spans()
    names = [span.name for span in found]
    assert names[:2] == ["PUT /v1/users/{user}/ratings/{item}", "GET /v1/items"]
    assert [span.attributes["http.status_code"] for span in found] == [200, 200, 404, 500]
    assert f"{found[0].context.trace_id:x}" == "ab" * 16
    assert found[3].attributes["http.route"] == "/v1/users/{user}/ratings"
    events = [(event.name, event.attributes) for span in found for event in span.events]
    text = repr([(span.name, dict(span.attributes), span.status.description) for span in found])
    assert "7654321" not in text + repr(events)
    assert "4.5" not in text
