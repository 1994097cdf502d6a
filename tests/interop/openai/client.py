"""OpenAI's own client at a node's door: everything is bought by base_url and key alone. Says what it
got as JSON; the test that started it decides."""

import json
import os

import openai

MODEL = "bursar-scribe-1"
MESSAGES = [{"role": "user", "content": "what is a hold"}]
attempts = 0


class Counting(openai.DefaultHttpxClient):
    """Counts what goes out, tries again included."""

    def send(self, *args, **kwargs):
        global attempts
        attempts += 1
        return super().send(*args, **kwargs)


def connect(**kwargs):
    return openai.OpenAI(http_client=Counting(), **kwargs)


client = connect()
models = [one.id for one in client.models.list()]
whole = client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=20)

streamed, counts = "", None
stream = client.chat.completions.create(
    model=MODEL, messages=MESSAGES, max_tokens=20, stream=True, stream_options={"include_usage": True}
)
for chunk in stream:
    if chunk.choices:
        streamed += chunk.choices[0].delta.content or ""
    counts = chunk.usage or counts

written = client.completions.create(model=MODEL, prompt="a hold is", max_tokens=5)
answer = client.responses.create(model=MODEL, input="what is a hold", max_output_tokens=20)
spoken, completed = "", None
for event in client.responses.create(
    model=MODEL, input="what is a hold", max_output_tokens=20, stream=True
):
    if event.type == "response.output_text.delta":
        spoken += event.delta
    if event.type in ("response.completed", "response.incomplete"):
        completed = event.response

vectors = client.embeddings.create(model="bursar-embed-1", input=["a hold", "a void"])

bought = attempts
refused = stranger = None
try:
    connect(api_key=os.environ["POOR_API_KEY"]).chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=20
    )
except openai.PermissionDeniedError as error:
    refused = {"kind": True, "status": error.status_code, "code": error.code}
try:
    connect(api_key="bat_nobody").chat.completions.create(model=MODEL, messages=MESSAGES)
except openai.APIStatusError as error:
    stranger = error.status_code

print(
    json.dumps(
        {
            "models": models,
            "whole": whole.choices[0].message.content,
            "charged": whole.usage.bursar["charged_usd"],
            "streamed": streamed,
            "streamed_charged": counts.bursar["charged_usd"],
            "written": len(written.choices[0].text),
            "answer": answer.output_text,
            "spoken": spoken,
            "completed": completed.output[0].content[0].text,
            "dimensions": [len(one.embedding) for one in vectors.data],
            "bought": bought,
            "refused": refused,
            "stranger": stranger,
            "refusals": attempts - bought,
        }
    )
)
