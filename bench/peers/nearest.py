"""speech-gateway 0.2.3, set up as its own documentation says, for OpenAI's dialect."""

from __future__ import annotations

import os

from fastapi import FastAPI
from speech_gateway.gateway.openai_speech import OpenAIGateway

app = FastAPI()
gateway = OpenAIGateway(api_key="x", base_url=f"{os.environ['UPSTREAM']}/v1", cache_dir=os.environ["CACHE"])
app.include_router(gateway.get_router(), prefix="/v1")
