"""The official Anthropic client for Python, unmodified, against a gateway. See cases.py for how it is called."""

import asyncio

import anthropic
import pydantic
from cases import (
    FORECAST, IMAGE_URL, LONG_QUESTION, PNG, QUESTION, REFUSAL, TIDE, TOOL_QUESTION, TOOL_RESULT, TWO_TOOLS_QUESTION,
    WIND, case, check_forecast, check_images, check_tide, check_wind, main, raised, vendor_case,
)

TIDE_TOOL, WIND_TOOL = ({"name": t.name, "description": t.description, "input_schema": t.schema} for t in (TIDE, WIND))


class Forecast(pydantic.BaseModel):
    """FORECAST, as the client's own helper wants it."""

    model_config = {"extra": "forbid"}
    port: str
    heights: list[float]
    trend: str


def user(content):
    return [{"role": "user", "content": content}]


def message(client, model, messages=None, max_tokens=1024, **more):
    return client.messages.create(model=model, max_tokens=max_tokens, messages=messages or user(QUESTION), **more)


def text_of(reply):
    return "".join(block.text for block in reply.content if block.type == "text")


def check_order(events):
    """A stream's events as Anthropic documents them: blocks one after the other, each begun and ended, then the rest."""
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
    open_block, blocks = None, 0
    for event in events:
        if event.type == "content_block_start":
            assert open_block is None and event.index == blocks, f"block {event.index} begins inside {open_block}"
            open_block, blocks = event.index, blocks + 1
        elif event.type == "content_block_delta":
            assert event.index == open_block, f"a delta of {event.index} inside {open_block}"
        elif event.type == "content_block_stop":
            assert event.index == open_block, f"{event.index} ends inside {open_block}"
            open_block = None
    assert open_block is None and blocks > 0, "no block, or one that never ends"
    return events[-2]


@vendor_case()
def plain(client, models):
    reply = message(client, models.route)
    assert (reply.type, reply.role, reply.stop_reason) == ("message", "assistant", "end_turn"), reply
    assert text_of(reply), "no text"
    assert reply.usage.input_tokens > 0 and reply.usage.output_tokens > 0, reply.usage
    return f"served by {reply.model}"


@vendor_case()
def conversation(client, models):
    """Everything usual at once: system blocks with a cache mark, several turns, sampling, a stop sequence, a limit."""
    messages = [
        *user("Is the tide in?"),
        {"role": "assistant", "content": [{"type": "text", "text": "It is."}]},
        *user([{"type": "text", "text": "And tomorrow?"}, {"type": "text", "text": "In 300 words."}]),
    ]
    system = [{"type": "text", "text": "You are a harbour master.", "cache_control": {"type": "ephemeral"}}]
    # The client has no argument for the temperature any more; the API and older clients do.
    more = {"stop_sequences": ["THE END"], "metadata": {"user_id": "a-sailor"}, "extra_body": {"temperature": 0.2}}
    reply = message(client, models.route, messages, max_tokens=5, system=system, **more)
    assert reply.stop_reason == "max_tokens", reply.stop_reason
    assert 0 < reply.usage.output_tokens <= 5, reply.usage
    return text_of(reply)


@vendor_case()
def stream(client, models):
    events = list(message(client, models.route, stream=True))
    end = check_order([event for event in events if event.type != "ping"])
    assert end.delta.stop_reason == "end_turn" and end.usage.output_tokens > 0, end
    deltas = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert len(deltas) > 1 and "".join(deltas), "the answer came in one piece"
    assert events[0].message.usage is not None and events[0].message.id, events[0]
    return f"{len(deltas)} deltas"


@vendor_case()
def stream_helper(client, models):
    with client.messages.stream(model=models.route, max_tokens=1024, messages=user(QUESTION)) as reply:
        text = "".join(reply.text_stream)
        final = reply.get_final_message()
    assert text and text == text_of(final), (text, final)
    assert final.stop_reason == "end_turn" and final.usage.output_tokens > 0, final
    return text


@vendor_case()
def tools(client, models):
    asked = user(TOOL_QUESTION)
    first = message(client, models.route, asked, tools=[TIDE_TOOL], tool_choice={"type": "auto"})
    assert first.stop_reason == "tool_use", first.stop_reason
    (call,) = (block for block in first.content if block.type == "tool_use")
    assert call.id and call.name == TIDE.name, call
    arguments = check_tide(call.input)
    asked += [{"role": "assistant", "content": first.content}]
    asked += user([{"type": "tool_result", "tool_use_id": call.id, "content": TOOL_RESULT}])
    last = message(client, models.route, asked, tools=[TIDE_TOOL])
    assert last.stop_reason == "end_turn" and text_of(last), last
    return f"{arguments} -> {text_of(last)}"


@vendor_case()
def parallel_tools(client, models):
    asked = user(TWO_TOOLS_QUESTION)
    both = [TIDE_TOOL, WIND_TOOL]
    first = message(client, models.route, asked, tools=both)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.name for call in calls] == [TIDE.name, WIND.name], calls
    assert len({call.id for call in calls}) == 2, "two calls under one id"
    check_tide(calls[0].input)
    check_wind(calls[1].input)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": TOOL_RESULT} for call in calls]
    # One of them has failed, and says so in blocks.
    results[1] |= {"is_error": True, "content": [{"type": "text", "text": "no wind today"}]}
    asked += [{"role": "assistant", "content": first.content}, *user(results)]
    last = message(client, models.route, asked, tools=both)
    assert last.stop_reason == "end_turn" and text_of(last), last
    return text_of(last)


@vendor_case()
def tool_stream(client, models):
    both = [TIDE_TOOL, WIND_TOOL]
    events = list(message(client, models.route, user(TWO_TOOLS_QUESTION), tools=both, stream=True))
    end = check_order([event for event in events if event.type != "ping"])
    assert end.delta.stop_reason == "tool_use", end
    calls = {
        event.index: [event.content_block.name, ""]
        for event in events
        if event.type == "content_block_start" and event.content_block.type == "tool_use"
    }
    for event in events:
        if event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            calls[event.index][1] += event.delta.partial_json
    assert [name for name, _ in calls.values()] == [TIDE.name, WIND.name], calls
    tide, wind = (arguments for _, arguments in calls.values())
    check_wind(wind)
    return check_tide(tide)


@vendor_case()
def tool_stream_helper(client, models):
    ask = client.messages.stream
    with ask(model=models.route, max_tokens=1024, messages=user(TOOL_QUESTION), tools=[TIDE_TOOL]) as reply:
        final = reply.get_final_message()
    (call,) = (block for block in final.content if block.type == "tool_use")
    return check_tide(call.input)


@vendor_case()
def json_schema(client, models):
    form = {"format": {"type": "json_schema", "schema": FORECAST}}
    reply = message(client, models.route, user("A forecast for Dover."), output_config=form)
    assert reply.stop_reason == "end_turn", reply.stop_reason
    return check_forecast(text_of(reply))


@vendor_case()
def json_schema_helper(client, models):
    asked = user("A forecast for Dover.")
    reply = client.messages.parse(model=models.route, max_tokens=1024, messages=asked, output_format=Forecast)
    assert isinstance(reply.parsed_output, Forecast), reply
    return reply.parsed_output


@vendor_case()
def image(client, models):
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": IMAGE_URL}},
        {"type": "text", "text": "What is on these charts?"},
    ]
    return check_images(text_of(message(client, models.route, user(content))), 2)


# An OpenAI vendor's chat API does not show what a model thinks, so that there is nothing to pass on.
@vendor_case("anthropic", "gemini")
def thinking(client, models):
    on = {"type": "enabled", "budget_tokens": 1024}
    asked = user(QUESTION)
    reply = message(client, models.route, asked, max_tokens=4096, thinking=on)
    thoughts = [block for block in reply.content if block.type == "thinking"]
    assert thoughts and thoughts[0].thinking, reply.content
    assert reply.content[0].type == "thinking" and text_of(reply), reply.content
    # As every client with memory does, it sends the thoughts back, signature and all.
    asked += [{"role": "assistant", "content": reply.content}, *user("And tomorrow?")]
    again = message(client, models.route, asked, max_tokens=4096, thinking=on)
    assert text_of(again), again
    return thoughts[0].thinking


@vendor_case("anthropic", "gemini")
def thinking_stream(client, models):
    on = {"type": "enabled", "budget_tokens": 1024}
    events = list(message(client, models.route, max_tokens=4096, thinking=on, stream=True))
    check_order([event for event in events if event.type != "ping"])
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    thoughts = "".join(delta.thinking for delta in deltas if delta.type == "thinking_delta")
    kinds = [delta.type for delta in deltas]
    assert thoughts and "text_delta" in kinds, kinds
    assert kinds.index("thinking_delta") < kinds.index("text_delta"), "the answer comes before the thought"
    return thoughts


@vendor_case("openai")
def thinking_is_no_obstacle(client, models):
    """Asking for thoughts that the vendor does not show still gets an answer."""
    reply = message(client, models.route, max_tokens=4096, thinking={"type": "enabled", "budget_tokens": 1024})
    assert text_of(reply) and reply.stop_reason == "end_turn", reply
    return text_of(reply)


@vendor_case("anthropic", "gemini")
def count_tokens(client, models):
    count = client.messages.count_tokens
    short = count(model=models.route, messages=user("Hi."))
    long = count(model=models.route, messages=user(QUESTION * 20), system="You are a harbour master.", tools=[TIDE_TOOL])
    assert 0 < short.input_tokens < long.input_tokens, (short, long)
    return f"{short.input_tokens} and {long.input_tokens}"


@vendor_case("openai")
def count_tokens_is_estimated(client, models):
    """A vendor of chat completions counts no tokens: the gateway estimates them, and says so."""
    count = client.messages.with_raw_response.count_tokens
    reply = count(model=models.route, messages=user(QUESTION))
    assert reply.headers["x-tidegate-estimated"] == "true", reply.headers
    assert reply.parse().input_tokens > 5, reply.text
    return reply.parse().input_tokens


@vendor_case()
def refused(client, models):
    """A request that the vendor finds at fault is the caller's own error, with the vendor's own words."""
    for streaming in (False, True):
        error = raised(anthropic.BadRequestError, lambda: message(client, models.refused, stream=streaming))
        assert error.body["type"] == "error", error.body
        assert error.body["error"]["type"] == "invalid_request_error", error.body
        assert REFUSAL in error.body["error"]["message"], error.body
    return error.message


@vendor_case()
def all_down(client, models):
    plain_error = raised(anthropic.InternalServerError, lambda: message(client, models.down))
    stream_error = raised(anthropic.InternalServerError, lambda: message(client, models.down, stream=True))
    for error in (plain_error, stream_error):
        assert error.status_code in (502, 503, 504, 529), error.status_code
        assert error.body["type"] == "error" and error.body["error"]["message"], error.body
        assert error.body["error"]["type"] in ("api_error", "overloaded_error"), error.body
        assert error.request_id, "no request id on an error"
        assert "retry-after" in error.response.headers, "a refused client is not told when to come back"
    return plain_error.message


def breaks_off(client, model):
    events = []

    def ask():
        for event in message(client, model, stream=True):
            events.append(event)

    error = raised(anthropic.APIStatusError, ask)
    kinds = [event.type for event in events]
    assert "content_block_delta" in kinds, "the end came before any content: this was not in mid-stream"
    assert "message_stop" not in kinds and "message_delta" not in kinds, "it claims to be finished"
    assert error.body["error"]["type"] and error.body["error"]["message"], error.body
    return error.message


@vendor_case()
def cut_stream(client, models):
    return breaks_off(client, models.cut)


@vendor_case()
def error_in_stream(client, models):
    return breaks_off(client, models.error)


@vendor_case()
def cancel(client, models):
    reply = message(client, models.cancel, user(LONG_QUESTION), stream=True)
    for event in reply:
        if event.type == "content_block_delta":
            break
    reply.close()
    return "left after the first delta"


@case
def request_id(client, models):
    reply = message(client, models.route)
    assert reply._request_id, "the client found no request id"
    return reply._request_id


@case
def bearer_token(client, models):
    """The client's other way to say who it is, which agents use."""
    bearer = anthropic.Anthropic(base_url=client.base_url, auth_token=client.api_key, api_key=None, max_retries=0)
    return text_of(message(bearer, models.route))


@case
def bad_key(client, models):
    error = raised(
        anthropic.AuthenticationError,
        lambda: message(client.with_options(api_key="wrong"), models.route),
    )
    assert error.body["error"]["type"] == "authentication_error", error.body
    return error.message


@case
def unknown_model(client, models):
    error = raised(anthropic.NotFoundError, lambda: message(client, "no-such-model"))
    assert error.body["error"]["type"] == "not_found_error", error.body
    assert models.route in error.message, f"known names are missing: {error.message}"
    return error.message


@case
def bad_request(client, models):
    del models
    error = raised(anthropic.BadRequestError, lambda: message(client, 123))
    assert error.body["error"]["type"] == "invalid_request_error", error.body
    return error.message


@case
def many_at_once(client, models):
    async def run():
        async with anthropic.AsyncAnthropic(base_url=client.base_url, api_key=client.api_key, max_retries=0) as many:

            async def one():
                return [event async for event in await message(many, models.route, stream=True)]

            return await asyncio.gather(*(one() for _ in range(8)))

    streams = asyncio.run(run())
    for events in streams:
        check_order([event for event in events if event.type != "ping"])
    assert len({events[0].message.id for events in streams}) == len(streams), "streams share events"
    return f"{len(streams)} streams"


if __name__ == "__main__":
    # The client's own retries would hide what the gateway did.
    main(lambda url, key: anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=120))
