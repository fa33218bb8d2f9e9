"""Replicate's wire, with Kokoro-82M behind it (API reference, and its Python client 1.0.7, 2026-11)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sayonce.speech.formats import WAV
from sayonce.testing.vendors.behaviour import Behaviour
from sayonce.testing.vendors.vendor import FakeVendor, Speech

MODEL, VERSION = "jaaari/kokoro-82m", "f559560eb822dc509045f3921a1921234918b91739db4bf3daab2169b71c7a13"


@dataclass
class _Prediction:
    id: str
    input: dict[str, Any]
    looks: int  # how often it is looked at before it ends
    end: str
    canceled: bool = False


class FakeReplicate(FakeVendor):
    """Predictions, made and looked at, and the files that they leave. `detail` may tell `looks` (how often one is
    looked at before it ends), `end` (`succeeded`, `failed`, `canceled`) and `output` (where its audio is)."""

    name = "replicate"

    def __init__(self) -> None:
        super().__init__()
        self.predictions: dict[str, _Prediction] = {}
        self.canceled: list[str] = []
        self.fetched_with_key = 0

    def routes(self) -> list[Route]:
        one = "/v1/predictions/{id}"
        return [
            Route("/v1/predictions", self._create, methods=["POST"]),
            Route("/v1/models/{owner}/{name}/predictions", self._create, methods=["POST"]),
            Route("/v1/models/{owner}/{name}/versions/{version}", self._version, methods=["GET"]),
            Route(one, self._look, methods=["GET"]),
            Route(f"{one}/cancel", self._cancel, methods=["POST"]),
            Route("/files/{id}/output.wav", self._file, methods=["GET"]),
        ]

    def error(self, status: int, how: Behaviour) -> Response:
        told = {"title": "As it was told to.", "detail": how.why, "status": status} | how.error
        return JSONResponse(told, status, headers=how.headers)

    def key_of(self, request: Request) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Bearer ") or None

    async def _create(self, request: Request) -> Response:
        body = await request.json()
        given = body.get("input") or {}
        self.counts.asked(str(given.get("text") or ""), body)
        if not self.knows(request):
            return _refused(401, "You did not pass a valid authentication token")
        if "owner" not in request.path_params and body.get("version") not in (VERSION, f"{MODEL}:{VERSION}"):
            return _refused(422, "version: Does not exist")
        if not given.get("text"):
            return _refused(422, "input: text is required")
        how = self.behaviour
        if how.status != 200 or how.trouble in ("never", "reset", "html"):
            return self.speak(Speech("", {}, WAV, "application/json"))
        detail = how.detail
        made = _Prediction(secrets.token_hex(8), given, detail.get("looks", 0), detail.get("end", "succeeded"))
        self.predictions[made.id] = made
        told = self._told(request, made)
        # Asked to wait, it answers with the output, but does not yet say that it is done.
        waited = "wait" in request.headers.get("prefer", "") and told["status"] == "succeeded"
        told["status"] = "processing" if waited else "starting" if made.looks > 0 else told["status"]
        return JSONResponse(told, 201)

    async def _look(self, request: Request) -> Response:
        made = self.predictions.get(request.path_params["id"])
        if made is None:
            return _refused(404, "The requested resource could not be found.")
        made.looks -= 1
        return JSONResponse(self._told(request, made))

    async def _cancel(self, request: Request) -> Response:
        made = self.predictions[request.path_params["id"]]
        made.canceled = True
        self.canceled.append(made.id)
        return JSONResponse(self._told(request, made))

    async def _version(self, request: Request) -> Response:
        schema = {"components": {"schemas": {"Output": {"type": "string", "format": "uri"}}}}
        told = {"id": request.path_params["version"], "created_at": "2025-01-30T00:00:00Z", "openapi_schema": schema}
        return JSONResponse(told | {"cog_version": "0.13"})

    async def _file(self, request: Request) -> Response:
        made = self.predictions[request.path_params["id"]]
        if "authorization" in request.headers:
            self.fetched_with_key += 1
        return self.speak(Speech(made.input["text"], made.input, WAV, "audio/wav"))

    def _told(self, request: Request, made: _Prediction) -> dict[str, Any]:
        base = str(request.base_url).rstrip("/")
        status = "canceled" if made.canceled else made.end if made.looks <= 0 else "processing"
        output = self.behaviour.detail.get("output", f"{base}/files/{made.id}/output.wav")
        return {
            "id": made.id,
            "model": MODEL,
            "version": VERSION,
            "input": made.input,
            "status": status,
            "output": output if status == "succeeded" else None,
            "error": self.behaviour.detail.get("error", "CUDA out of memory") if status == "failed" else None,
            "logs": "",
            "created_at": "2026-11-21T00:00:00Z",
            "urls": {
                "get": f"{base}/v1/predictions/{made.id}",
                "cancel": f"{base}/v1/predictions/{made.id}/cancel",
            },
        }


def _refused(status: int, detail: str) -> Response:
    return JSONResponse({"title": "Refused", "detail": detail, "status": status}, status)
