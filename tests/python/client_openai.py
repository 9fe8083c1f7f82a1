"""The official OpenAI client for Python, unmodified, against a gateway.

    python client_openai.py BASE_URL --model M --embedding M --down M --cut M --cancel M [--key K] [--only CASE]

    BASE_URL        with /v1
    --model M       answers, plain and streaming
    --embedding M   answers embeddings, the same vector for the same text
    --down M        all of its targets fail before the first token
    --cut M         streams some content, then its connection is cut
    --cancel M      streams slowly enough to be left in the middle: at least a second
    --key K         the API key to send (default: "unused")
    --only CASE     run only this case

Prints one line of JSON a case, {"case", "ok", "detail"}, and exits with 1 if any failed. The caller has put the vendors
into these states, and checks afterwards what they saw: that a cancelled request was cancelled there too, for one.
"""

import argparse
import asyncio
import json
import sys

import openai

QUESTION = [{"role": "user", "content": "Say something short about the tide."}]
CASES = {}


def case(function):
    """Registers a function under its name; it returns what is worth telling, or raises."""
    CASES[function.__name__] = function
    return function


def raised(kind, function):
    """The error of exactly this kind that the function must raise."""
    try:
        function()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@case
def plain(client, names):
    reply = client.chat.completions.create(model=names.model, messages=QUESTION)
    assert reply.object == "chat.completion", reply.object
    assert reply.choices[0].message.content, "no content"
    assert reply.choices[0].finish_reason == "stop", reply.choices[0].finish_reason
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    return f"served by {reply.model}"


@case
def headers(client, names):
    raw = client.chat.completions.with_raw_response.create(model=names.model, messages=QUESTION)
    found = {name: raw.headers.get(f"x-tidegate-{name}") for name in ("target", "attempts", "cost", "request-id")}
    assert all(found.values()), found
    assert int(found["attempts"]) >= 1, found
    return json.dumps(found)


@case
def request_id(client, names):
    reply = client.chat.completions.create(model=names.model, messages=QUESTION)
    assert reply._request_id, "the client found no request id"
    return reply._request_id


@case
def stream(client, names):
    chunks = list(client.chat.completions.create(model=names.model, messages=QUESTION, stream=True))
    assert text_of(chunks), "no content"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert all(chunk.choices for chunk in chunks), "a chunk without choices, though no usage was asked for"
    assert all(chunk.usage is None for chunk in chunks), "usage, though it was not asked for"
    assert len({chunk.id for chunk in chunks}) == 1, "more than one id in one stream"
    return f"{len(chunks)} chunks"


@case
def stream_with_usage(client, names):
    options = {"include_usage": True}
    reply = client.chat.completions.create(model=names.model, messages=QUESTION, stream=True, stream_options=options)
    chunks = list(reply)
    assert text_of(chunks), "no content"
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0, f"the last chunk is {chunks[-1]}"
    assert all(chunk.usage is None for chunk in chunks[:-1]), "usage in more than the last chunk"
    return f"{chunks[-1].usage.total_tokens} tokens"


@case
def embeddings(client, names):
    create = client.embeddings.create
    default = create(model=names.embedding, input=["the tide comes in", "and goes out"])  # The client asks for base64.
    floats = create(model=names.embedding, input=["the tide comes in", "and goes out"], encoding_format="float")
    for reply in (default, floats):
        assert [item.index for item in reply.data] == [0, 1], "items are missing or out of order"
        assert all(isinstance(x, float) for item in reply.data for x in item.embedding), "not a vector of numbers"
        assert reply.usage.prompt_tokens > 0
    for one, other in zip(default.data, floats.data):
        assert len(one.embedding) == len(other.embedding) > 0
        assert max(abs(x - y) for x, y in zip(one.embedding, other.embedding)) < 1e-6, "base64 and float differ"
    return f"{len(floats.data[0].embedding)} dimensions"


@case
def models_list(client, names):
    ids = [model.id for model in client.models.list()]
    assert names.model in ids, ids
    return f"{len(ids)} models"


@case
def models_retrieve(client, names):
    model = client.models.retrieve(names.model)
    assert (model.id, model.object) == (names.model, "model"), model
    return f"owned by {model.owned_by}"


@case
def unknown_model(client, names):
    def ask():
        return client.chat.completions.create(model="no-such-model", messages=QUESTION)

    error = raised(openai.NotFoundError, ask)
    assert error.code == "model_not_found", error.code
    assert names.model in error.message, f"known names are missing: {error.message}"
    raised(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    return error.message


@case
def bad_request(client, names):
    del names
    error = raised(openai.BadRequestError, lambda: client.chat.completions.create(model=123, messages=QUESTION))
    assert error.type == "invalid_request_error", error.type
    assert error.param == "model", error.param
    return error.message


@case
def all_down(client, names):
    def ask(**more):
        return client.chat.completions.create(model=names.down, messages=QUESTION, **more)

    plain_error = raised(openai.InternalServerError, ask)
    stream_error = raised(openai.InternalServerError, lambda: ask(stream=True))
    for error in (plain_error, stream_error):
        assert error.status_code in (502, 503, 504), error.status_code
        assert error.request_id, "no request id on an error"
        assert "retry-after" in error.response.headers, "a refused client is not told when to come back"
    return plain_error.message


@case
def cut_stream(client, names):
    chunks = []

    def ask():
        for chunk in client.chat.completions.create(model=names.cut, messages=QUESTION, stream=True):
            chunks.append(chunk)

    error = raised(openai.APIError, ask)
    assert text_of(chunks), "the cut came before any content: this was not a cut in mid-stream"
    assert all(choice.finish_reason is None for chunk in chunks for choice in chunk.choices), "it claims to be finished"
    return error.message


@case
def cancel(client, names):
    reply = client.chat.completions.create(model=names.cancel, messages=QUESTION, stream=True)
    first = next(iter(reply))
    reply.close()
    assert first.choices, first
    return "left after the first chunk"


@case
def many_at_once(client, names):
    async def run():
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key, max_retries=0) as many:

            async def one():
                create = many.chat.completions.create
                return [chunk async for chunk in await create(model=names.model, messages=QUESTION, stream=True)]

            return await asyncio.gather(*(one() for _ in range(8)))

    streams = asyncio.run(run())
    assert all(text_of(chunks) for chunks in streams), "a stream without content"
    assert len({chunks[0].id for chunks in streams}) == len(streams), "streams share chunks"
    return f"{len(streams)} streams"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    for name in ("model", "embedding", "down", "cut", "cancel"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--key", default="unused")
    parser.add_argument("--only", choices=CASES)
    names = parser.parse_args()
    # The client's own retries would hide what the gateway did.
    client = openai.OpenAI(base_url=names.base_url, api_key=names.key, max_retries=0, timeout=30)
    failed = False
    for name, function in CASES.items():
        if names.only not in (None, name):
            continue
        try:
            ok, detail = True, function(client, names)
        except Exception as error:  # Whatever it is, it is this case's result, and the next case still runs.
            ok, detail = False, f"{type(error).__name__}: {error}"
        failed |= not ok
        print(json.dumps({"case": name, "ok": ok, "detail": detail}), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
