"""The official OpenAI client, with one thing changed: the base URL. `python examples/openai_client.py [URL]`"""

import sys

from openai import OpenAI

base_url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8700"
client = OpenAI(base_url=f"{base_url}/v1", api_key="any")

for _ in range(2):
    answer = client.audio.speech.with_raw_response.create(model="tts-1", voice="nova", input="Say it once.")
    print(answer.headers["x-tts-cache"], len(answer.content), "bytes")

with client.audio.speech.with_streaming_response.create(
    model="tts-1", voice="onyx", input="And this comes as it is spoken.", response_format="wav"
) as streamed:
    print(streamed.headers["x-tts-cache"], sum(len(piece) for piece in streamed.iter_bytes()), "bytes")
