"""LangChain's OpenAI chat model, unmodified, against a gateway. See cases.py for how it is called."""

import openai
from cases import (
    FORECAST, IMAGE_URL, LONG_QUESTION, PNG, QUESTION, REFUSAL, TIDE, TOOL_QUESTION, TOOL_RESULT, TWO_TOOLS_QUESTION,
    WIND, case, check_forecast, check_images, check_tide, check_wind, main, raised, vendor_case,
)
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI

TIDE_TOOL, WIND_TOOL = (
    {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
    for t in (TIDE, WIND)
)


def gathered(chunks):
    """The whole message of a stream, as LangChain adds its pieces up."""
    first, *rest = chunks
    for chunk in rest:
        first += chunk
    return first


@vendor_case()
def plain(chat, models):
    reply = chat(models.route).invoke(QUESTION)
    assert isinstance(reply, AIMessage) and reply.content, reply
    assert reply.response_metadata["finish_reason"] == "stop", reply.response_metadata
    assert reply.usage_metadata["total_tokens"] > 0, reply.usage_metadata
    return f"served by {reply.response_metadata['model_name']}"


@vendor_case()
def conversation(chat, models):
    talk = [
        SystemMessage("You are a harbour master."),
        HumanMessage("Is the tide in?"),
        AIMessage("It is."),
        HumanMessage("And tomorrow? In 300 words."),
    ]
    reply = chat(models.route, temperature=0.2, max_tokens=5, stop_sequences=["THE END"]).invoke(talk)
    assert reply.response_metadata["finish_reason"] == "length", reply.response_metadata
    return reply.content


@vendor_case()
def stream(chat, models):
    chunks = list(chat(models.route, stream_usage=True).stream(QUESTION))
    assert sum(bool(chunk.content) for chunk in chunks) > 1, "the answer came in one piece"
    whole = gathered(chunks)
    assert whole.response_metadata["finish_reason"] == "stop", whole.response_metadata
    assert whole.usage_metadata["total_tokens"] > 0, whole.usage_metadata
    return whole.content


@vendor_case()
def tools(chat, models):
    model = chat(models.route).bind_tools([TIDE_TOOL])
    talk = [HumanMessage(TOOL_QUESTION)]
    first = model.invoke(talk)
    (call,) = first.tool_calls
    assert call["name"] == TIDE.name and not first.invalid_tool_calls, first
    arguments = check_tide(call["args"])
    last = model.invoke([*talk, first, ToolMessage(TOOL_RESULT, tool_call_id=call["id"])])
    assert last.content and not last.tool_calls, last
    return f"{arguments} -> {last.content}"


@vendor_case()
def parallel_tools(chat, models):
    model = chat(models.route).bind_tools([TIDE_TOOL, WIND_TOOL])
    talk = [HumanMessage(TWO_TOOLS_QUESTION)]
    first = model.invoke(talk)
    assert [call["name"] for call in first.tool_calls] == [TIDE.name, WIND.name], first
    results = [ToolMessage(TOOL_RESULT, tool_call_id=call["id"]) for call in first.tool_calls]
    last = model.invoke([*talk, first, *results])
    assert last.content and not last.tool_calls, last
    return last.content


@vendor_case()
def tool_stream(chat, models):
    model = chat(models.route).bind_tools([TIDE_TOOL, WIND_TOOL])
    whole = gathered(list(model.stream(TWO_TOOLS_QUESTION)))
    assert not whole.invalid_tool_calls, whole.invalid_tool_calls
    tide, wind = whole.tool_calls
    assert (tide["name"], wind["name"]) == (TIDE.name, WIND.name), whole.tool_calls
    check_wind(wind["args"])
    return check_tide(tide["args"])


@vendor_case()
def json_schema(chat, models):
    schema = {"title": "forecast", "description": "A forecast.", **FORECAST}
    model = chat(models.route).with_structured_output(schema, method="json_schema", strict=True)
    return check_forecast(model.invoke("A forecast for Dover."))


@vendor_case()
def json_schema_by_tool(chat, models):
    """LangChain's other way to a schema: a tool that the model is made to call."""
    schema = {"title": "forecast", "description": "A forecast.", **FORECAST}
    model = chat(models.route).with_structured_output(schema, method="function_calling")
    return check_forecast(model.invoke("A forecast for Dover."))


@vendor_case()
def image(chat, models):
    content = [
        {"type": "text", "text": "What is on these charts?"},
        {"type": "image", "base64": PNG, "mime_type": "image/png"},
        {"type": "image", "url": IMAGE_URL},
    ]
    return check_images(chat(models.route).invoke([HumanMessage(content)]).content, 2)


@vendor_case()
def responses(chat, models):
    """The same by the Responses API, whose answers come in blocks."""
    model = chat(models.route, use_responses_api=True).bind_tools([TIDE_TOOL])
    talk = [HumanMessage(TOOL_QUESTION)]
    first = gathered(list(model.stream(talk)))
    (call,) = first.tool_calls
    arguments = check_tide(call["args"])
    last = model.invoke([*talk, first, ToolMessage(TOOL_RESULT, tool_call_id=call["id"])])
    assert last.text and not last.tool_calls, last
    return f"{arguments} -> {last.text}"


@vendor_case()
def refused(chat, models):
    error = raised(openai.BadRequestError, lambda: chat(models.refused).invoke(QUESTION))
    assert REFUSAL in error.message, error.message
    return error.message


@vendor_case()
def all_down(chat, models):
    error = raised(openai.InternalServerError, lambda: chat(models.down).invoke(QUESTION))
    raised(openai.InternalServerError, lambda: list(chat(models.down).stream(QUESTION)))
    return error.message


def breaks_off(chat, model):
    chunks = []

    def ask():
        for chunk in chat(model).stream(QUESTION):
            chunks.append(chunk)

    error = raised(openai.APIError, ask)
    assert any(chunk.content for chunk in chunks), "the end came before any content: this was not in mid-stream"
    return error.message


@vendor_case()
def cut_stream(chat, models):
    return breaks_off(chat, models.cut)


@vendor_case()
def error_in_stream(chat, models):
    return breaks_off(chat, models.error)


@vendor_case()
def cancel(chat, models):
    chunks = chat(models.cancel).stream(LONG_QUESTION)
    next(chunks)
    chunks.close()
    return "left after the first chunk"


@case
def unknown_model(chat, models):
    error = raised(openai.NotFoundError, lambda: chat("no-such-model").invoke(QUESTION))
    assert models.route in error.message, f"known names are missing: {error.message}"
    return error.message


@case
def batch(chat, models):
    replies = chat(models.route).batch([f"{n}: {QUESTION}" for n in range(8)])
    assert all(reply.content for reply in replies), replies
    assert len({reply.response_metadata["id"] for reply in replies}) == 8, "answers share an id"
    return f"{len(replies)} answers"


if __name__ == "__main__":
    # Neither LangChain's retries nor the client's own may hide what the gateway did.
    main(
        lambda url, key: lambda model, **more: ChatOpenAI(
            base_url=f"{url}/v1", api_key=key, model=model, max_retries=0, timeout=120, **more
        )
    )
