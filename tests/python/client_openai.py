"""The official OpenAI client for Python, unmodified, against a gateway. See cases.py for how it is called."""

import asyncio
import json

import openai
import pydantic
from cases import (
    FORECAST, IMAGE_URL, LONG_QUESTION, PNG, QUESTION, REFUSAL, TIDE, TOOL_QUESTION, TOOL_RESULT, TWO_TOOLS_QUESTION,
    WIND, case, check_forecast, check_images, check_tide, check_wind, main, raised, vendor_case,
)

MESSAGES = [{"role": "user", "content": QUESTION}]
TIDE_TOOL, WIND_TOOL = (
    {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
    for t in (TIDE, WIND)
)
# The Responses API has the same without the inner object.
FLAT_TIDE_TOOL = {
    "type": "function", "name": TIDE.name, "description": TIDE.description, "parameters": TIDE.schema, "strict": True,
}


class Forecast(pydantic.BaseModel):
    """FORECAST, as the client's own helper wants it."""

    model_config = {"extra": "forbid"}
    port: str
    heights: list[float]
    trend: str


def chat(client, model, messages=MESSAGES, **more):
    return client.chat.completions.create(model=model, messages=messages, **more)


def user(content):
    return [{"role": "user", "content": content}]


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def check_stream(chunks):
    """A whole stream of text: pieces under one id, one finish reason at the end."""
    assert text_of(chunks), "no content"
    with_choice = [chunk for chunk in chunks if chunk.choices]
    reasons = [chunk.choices[0].finish_reason for chunk in with_choice]
    assert reasons[-1] == "stop" and not any(reasons[:-1]), reasons
    assert sum(bool(chunk.choices[0].delta.content) for chunk in with_choice) > 1, "the answer came in one piece"
    assert len({chunk.id for chunk in chunks}) == 1, "more than one id in one stream"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


# === Chat completions ===


@vendor_case()
def plain(client, models):
    reply = chat(client, models.route)
    assert reply.object == "chat.completion", reply.object
    assert reply.choices[0].message.content, "no content"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop", reply.choices[0].finish_reason
    assert reply.usage.prompt_tokens > 0 and reply.usage.completion_tokens > 0, reply.usage
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    return f"served by {reply.model}"


@vendor_case()
def conversation(client, models):
    """Everything usual at once: a system prompt, several turns, sampling parameters, a stop sequence, a limit."""
    messages = [
        {"role": "system", "content": "You are a harbour master."},
        *user("Is the tide in?"),
        {"role": "assistant", "content": "It is."},
        *user([{"type": "text", "text": "And tomorrow?"}, {"type": "text", "text": "In 300 words."}]),
    ]
    more = {"temperature": 0.2, "top_p": 0.9, "stop": ["THE END"], "user": "a-sailor"}
    reply = chat(client, models.route, messages, max_completion_tokens=5, **more)
    assert reply.choices[0].finish_reason == "length", reply.choices[0].finish_reason
    assert 0 < reply.usage.completion_tokens <= 5, reply.usage
    return reply.choices[0].message.content


@vendor_case()
def stream(client, models):
    chunks = list(chat(client, models.route, stream=True))
    check_stream(chunks)
    assert all(chunk.choices for chunk in chunks), "a chunk without choices, though no usage was asked for"
    assert all(chunk.usage is None for chunk in chunks), "usage, though it was not asked for"
    return f"{len(chunks)} chunks"


@vendor_case()
def stream_with_usage(client, models):
    chunks = list(chat(client, models.route, stream=True, stream_options={"include_usage": True}))
    last = chunks.pop()
    check_stream(chunks)
    assert last.choices == [] and last.usage.total_tokens > 0, f"the last chunk is {last}"
    assert all(chunk.usage is None for chunk in chunks), "usage in more than the last chunk"
    return f"{last.usage.total_tokens} tokens"


@vendor_case()
def tools(client, models):
    asked = user(TOOL_QUESTION)
    first = chat(client, models.route, asked, tools=[TIDE_TOOL], tool_choice="auto").choices[0]
    assert first.finish_reason == "tool_calls", first.finish_reason
    (call,) = first.message.tool_calls
    assert call.id and call.type == "function" and call.function.name == TIDE.name, call
    arguments = check_tide(call.function.arguments)
    # The client's own object goes back in, as in every loop that an agent runs.
    asked += [first.message, {"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT}]
    last = chat(client, models.route, asked, tools=[TIDE_TOOL]).choices[0]
    assert last.finish_reason == "stop" and last.message.content and not last.message.tool_calls, last
    return f"{arguments} -> {last.message.content}"


@vendor_case()
def parallel_tools(client, models):
    asked = user(TWO_TOOLS_QUESTION)
    both = [TIDE_TOOL, WIND_TOOL]
    first = chat(client, models.route, asked, tools=both).choices[0]
    calls = first.message.tool_calls
    assert [call.function.name for call in calls] == [TIDE.name, WIND.name], calls
    assert len({call.id for call in calls}) == 2, "two calls under one id"
    check_tide(calls[0].function.arguments)
    check_wind(calls[1].function.arguments)
    asked += [first.message]
    asked += [{"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT} for call in calls]
    last = chat(client, models.route, asked, tools=both).choices[0]
    assert last.finish_reason == "stop" and last.message.content, last
    return last.message.content


@vendor_case()
def tool_stream(client, models):
    calls, reasons = {}, []
    both = [TIDE_TOOL, WIND_TOOL]
    for chunk in chat(client, models.route, user(TWO_TOOLS_QUESTION), tools=both, stream=True):
        reasons.append(chunk.choices[0].finish_reason)
        for delta in chunk.choices[0].delta.tool_calls or []:
            if delta.id:
                assert delta.index not in calls, f"call {delta.index} begins twice"
                calls[delta.index] = [delta.id, delta.function.name, ""]
            calls[delta.index][2] += delta.function.arguments or ""
    assert reasons[-1] == "tool_calls" and not any(reasons[:-1]), reasons
    assert sorted(calls) == [0, 1] and calls[0][0] != calls[1][0], calls
    assert [calls[n][1] for n in (0, 1)] == [TIDE.name, WIND.name], calls
    check_wind(calls[1][2])
    return check_tide(calls[0][2])


@vendor_case()
def tool_stream_helper(client, models):
    """The client's own assembly of a stream, which is stricter than it has to be."""
    with client.chat.completions.stream(model=models.route, messages=user(TOOL_QUESTION), tools=[TIDE_TOOL]) as events:
        deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
        message = events.get_final_completion().choices[0].message
    assert deltas, "no argument deltas"
    return check_tide(message.tool_calls[0].function.arguments)


@vendor_case()
def json_schema(client, models):
    schema = {"name": "forecast", "strict": True, "schema": FORECAST}
    form = {"type": "json_schema", "json_schema": schema}
    reply = chat(client, models.route, user("A forecast for Dover."), response_format=form)
    assert reply.choices[0].finish_reason == "stop", reply.choices[0].finish_reason
    return check_forecast(reply.choices[0].message.content)


@vendor_case()
def json_schema_helper(client, models):
    ask = client.chat.completions.parse
    reply = ask(model=models.route, messages=user("A forecast for Dover."), response_format=Forecast)
    assert isinstance(reply.choices[0].message.parsed, Forecast), reply
    return reply.choices[0].message.parsed


@vendor_case()
def image(client, models):
    content = [
        {"type": "text", "text": "What is on these charts?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": IMAGE_URL, "detail": "low"}},
    ]
    return check_images(chat(client, models.route, user(content)).choices[0].message.content, 2)


@vendor_case()
def refused(client, models):
    """A request that the vendor finds at fault is the caller's own error, with the vendor's own words."""
    for streaming in (False, True):
        error = raised(openai.BadRequestError, lambda: chat(client, models.refused, stream=streaming))
        assert REFUSAL in error.message, error.message
        assert error.type == "invalid_request_error", error.type
    return error.message


@vendor_case()
def all_down(client, models):
    plain_error = raised(openai.InternalServerError, lambda: chat(client, models.down))
    stream_error = raised(openai.InternalServerError, lambda: chat(client, models.down, stream=True))
    for error in (plain_error, stream_error):
        assert error.status_code in (502, 503, 504), error.status_code
        assert error.request_id, "no request id on an error"
        assert "retry-after" in error.response.headers, "a refused client is not told when to come back"
    return plain_error.message


def breaks_off(client, model):
    chunks = []

    def ask():
        for chunk in chat(client, model, stream=True):
            chunks.append(chunk)

    error = raised(openai.APIError, ask)
    assert text_of(chunks), "the end came before any content: this was not in mid-stream"
    assert all(choice.finish_reason is None for chunk in chunks for choice in chunk.choices), "it claims to be finished"
    return error.message


@vendor_case()
def cut_stream(client, models):
    return breaks_off(client, models.cut)


@vendor_case()
def error_in_stream(client, models):
    return breaks_off(client, models.error)


@vendor_case()
def cancel(client, models):
    reply = chat(client, models.cancel, user(LONG_QUESTION), stream=True)
    first = next(iter(reply))
    reply.close()
    assert first.choices, first
    return "left after the first chunk"


# === The other APIs ===


@vendor_case("openai", "gemini")
def embeddings(client, models):
    create = client.embeddings.create
    default = create(model=models.vectors, input=["the tide comes in", "and goes out"])  # The client asks for base64.
    floats = create(model=models.vectors, input=["the tide comes in", "and goes out"], encoding_format="float")
    for reply in (default, floats):
        assert [item.index for item in reply.data] == [0, 1], "items are missing or out of order"
        assert all(isinstance(x, float) for item in reply.data for x in item.embedding), "not a vector of numbers"
    for one, other in zip(default.data, floats.data):
        assert len(one.embedding) == len(other.embedding) > 0
        assert max(abs(x - y) for x, y in zip(one.embedding, other.embedding)) < 1e-6, "base64 and float differ"
    return f"{len(floats.data[0].embedding)} dimensions"


@vendor_case()
def completions(client, models):
    reply = client.completions.create(model=models.route, prompt=QUESTION, max_tokens=50)
    assert reply.object == "text_completion" and reply.choices[0].text, reply
    assert reply.choices[0].finish_reason == "stop", reply.choices[0].finish_reason
    assert reply.usage.total_tokens > 0, reply.usage
    return reply.choices[0].text


@vendor_case()
def completions_stream(client, models):
    chunks = list(client.completions.create(model=models.route, prompt=QUESTION, max_tokens=50, stream=True))
    assert {chunk.object for chunk in chunks} == {"text_completion"}
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons[-1] == "stop" and not any(reasons[:-1]), reasons
    text = "".join(chunk.choices[0].text for chunk in chunks)
    assert text, "no text"
    return text


@vendor_case()
def responses(client, models):
    reply = client.responses.create(model=models.route, input=QUESTION, instructions="Be brief.", store=False)
    assert (reply.object, reply.status, reply.error) == ("response", "completed", None), reply
    assert reply.output_text, reply.output
    assert reply.usage.input_tokens > 0 and reply.usage.output_tokens > 0, reply.usage
    return reply.output_text


@vendor_case()
def responses_stream(client, models):
    events = list(client.responses.create(model=models.route, input=user(QUESTION), stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    assert [event.sequence_number for event in events] == sorted({event.sequence_number for event in events}), "sequence"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1, "the answer came in one piece"
    (done,) = (event.text for event in events if event.type == "response.output_text.done")
    assert "".join(deltas) == done == events[-1].response.output_text, (deltas, done)
    assert events[-1].response.usage.total_tokens > 0, events[-1].response.usage
    return done


@vendor_case()
def responses_tools(client, models):
    asked = user(TOOL_QUESTION)
    first = client.responses.create(model=models.route, input=asked, tools=[FLAT_TIDE_TOOL])
    (call,) = (item for item in first.output if item.type == "function_call")
    assert call.name == TIDE.name and call.call_id, call
    arguments = check_tide(call.arguments)
    asked += first.output
    asked += [{"type": "function_call_output", "call_id": call.call_id, "output": TOOL_RESULT}]
    last = client.responses.create(model=models.route, input=asked, tools=[FLAT_TIDE_TOOL])
    assert last.status == "completed" and last.output_text, last
    return f"{arguments} -> {last.output_text}"


@vendor_case()
def responses_tool_stream(client, models):
    """By the client's own helper, which raises where events do not fit together."""
    with client.responses.stream(model=models.route, input=user(TOOL_QUESTION), tools=[FLAT_TIDE_TOOL]) as events:
        deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
        final = events.get_final_response()
    (call,) = (item for item in final.output if item.type == "function_call")
    assert "".join(deltas) == call.arguments, (deltas, call.arguments)
    return check_tide(call.arguments)


@vendor_case()
def responses_json_schema(client, models):
    reply = client.responses.parse(model=models.route, input="A forecast for Dover.", text_format=Forecast)
    assert isinstance(reply.output_parsed, Forecast), reply
    return reply.output_parsed


@vendor_case()
def responses_image(client, models):
    content = [
        {"type": "input_text", "text": "What is on this chart?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
    ]
    return check_images(client.responses.create(model=models.route, input=user(content)).output_text, 1)


@vendor_case()
def responses_refused(client, models):
    error = raised(openai.BadRequestError, lambda: client.responses.create(model=models.refused, input=QUESTION))
    assert REFUSAL in error.message, error.message
    return error.message


@vendor_case()
def responses_cut_stream(client, models):
    """The last event says that it failed; a stream is never let look whole."""
    try:
        kinds = [event.type for event in client.responses.create(model=models.cut, input=QUESTION, stream=True)]
    except openai.APIError as error:
        return error.message
    assert kinds[-1] in ("response.failed", "error"), kinds
    return kinds[-1]


# === Whatever stands behind ===


@case
def state_is_refused(client, models):
    """What would need the vendor's memory of an earlier response is refused, and said."""
    error = raised(
        openai.BadRequestError,
        lambda: client.responses.create(model=models.route, input=QUESTION, previous_response_id="resp_123"),
    )
    assert "previous_response_id" in error.message, error.message
    return error.message


@case
def headers(client, models):
    raw = client.chat.completions.with_raw_response.create(model=models.route, messages=MESSAGES)
    found = {name: raw.headers.get(f"x-tidegate-{name}") for name in ("target", "attempts", "cost", "request-id")}
    assert all(found.values()), found
    assert int(found["attempts"]) >= 1, found
    return json.dumps(found)


@case
def request_id(client, models):
    reply = chat(client, models.route)
    assert reply._request_id, "the client found no request id"
    return reply._request_id


@case
def models_list(client, models):
    ids = [model.id for model in client.models.list()]
    assert models.route in ids, ids
    return f"{len(ids)} models"


@case
def models_retrieve(client, models):
    model = client.models.retrieve(models.route)
    assert (model.id, model.object) == (models.route, "model"), model
    return f"owned by {model.owned_by}"


@case
def unknown_model(client, models):
    error = raised(openai.NotFoundError, lambda: chat(client, "no-such-model"))
    assert error.code == "model_not_found", error.code
    assert models.route in error.message, f"known names are missing: {error.message}"
    raised(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    raised(openai.NotFoundError, lambda: client.responses.create(model="no-such-model", input=QUESTION))
    return error.message


@case
def bad_request(client, models):
    del models
    error = raised(openai.BadRequestError, lambda: chat(client, 123))
    assert error.type == "invalid_request_error", error.type
    assert error.param == "model", error.param
    return error.message


@case
def bad_key(client, models):
    error = raised(openai.AuthenticationError, lambda: chat(client.with_options(api_key="wrong"), models.route))
    assert error.code == "invalid_api_key", error.code
    return error.message


@case
def many_at_once(client, models):
    async def run():
        async with openai.AsyncOpenAI(base_url=client.base_url, api_key=client.api_key, max_retries=0) as many:

            async def one():
                return [chunk async for chunk in await chat(many, models.route, stream=True)]

            return await asyncio.gather(*(one() for _ in range(8)))

    streams = asyncio.run(run())
    assert all(text_of(chunks) for chunks in streams), "a stream without content"
    assert len({chunks[0].id for chunks in streams}) == len(streams), "streams share chunks"
    return f"{len(streams)} streams"


if __name__ == "__main__":
    # The client's own retries would hide what the gateway did.
    main(lambda url, key: openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=120))
