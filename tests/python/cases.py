"""What the scripts of all Python clients share: their command line, the material of the cases, how results are told.

    python client_X.py URL --key K --vendor openai --vendor anthropic --vendor gemini [--only TEXT]

    URL           the gateway, without /v1
    --key K       the API key to send
    --vendor D    a dialect in which a vendor behind the gateway is spoken to. Its models are
                    D-route     answers, plain and streaming; calls a tool it is given, keeps to a schema, counts images
                    D-vectors   answers embeddings, the same vector for the same text
                    D-refused   its vendor finds the request at fault, with REFUSAL as its words
                    D-down      all of its targets fail before the first token
                    D-cut       streams some content, then its connection is cut
                    D-error     streams some content, then its vendor reports an error inside the stream
                    D-cancel    streams slowly enough to be left in the middle: at least a second
    --only TEXT   run only the cases whose name contains this

Prints a line of JSON for each case, {"case", "ok", "detail"}, and exits with 1 if any failed. A case that is about a vendor
is told once for each, as "D::case". The caller has put the vendors into these states, and checks afterwards what they saw:
that a cancelled request was cancelled there too, for one.
"""

import argparse
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from types import SimpleNamespace

QUESTION = "Say something short about the tide."
LONG_QUESTION = "Say 100 words about the tide."
REFUSAL = "the tide table has no such page"
STATES = ("route", "vectors", "refused", "down", "cut", "error", "cancel")

# A tool, in the words that every API has for one: name, description, JSON Schema.
TIDE = SimpleNamespace(
    name="tide_at",
    description="The times of high water at a port.",
    schema={
        "type": "object",
        "properties": {"port": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["port", "days"],
        "additionalProperties": False,
    },
)
WIND = SimpleNamespace(
    name="wind_at",
    description="The wind at a port.",
    schema={
        "type": "object",
        "properties": {"port": {"type": "string"}, "unit": {"type": "string", "enum": ["knots", "m/s"]}},
        "required": ["port", "unit"],
        "additionalProperties": False,
    },
)
TOOL_QUESTION = "When is high water at Dover?"
TWO_TOOLS_QUESTION = "Tell me both the tide and the wind at Dover."
TOOL_RESULT = "high water at 04:12 and 16:38"

FORECAST = {
    "type": "object",
    "properties": {
        "port": {"type": "string"},
        "heights": {"type": "array", "items": {"type": "number"}},
        "trend": {"type": "string", "enum": ["rising", "falling"]},
    },
    "required": ["port", "heights", "trend"],
    "additionalProperties": False,
}

# One transparent pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE_URL = "https://tides.example/chart.png"

_CASES = {}


def case(function):
    """Registers a case about the gateway alone; it returns what is worth telling, or raises."""
    _CASES[function.__name__] = (function, None)
    return function


def vendor_case(*only):
    """Registers a case to be told for each vendor's dialect, or for these only."""

    def register(function):
        _CASES[function.__name__] = (function, only)
        return function

    return register


def raised(kind, function):
    """The error of this kind that the function must raise."""
    try:
        function()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def check_tide(arguments):
    """What the model called the tide tool with, as an object or as JSON, must be what the tool's schema says."""
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert set(arguments) == {"port", "days"}, arguments
    assert isinstance(arguments["port"], str) and type(arguments["days"]) is int, arguments
    return json.dumps(arguments)


def check_wind(arguments):
    """The same of the wind tool."""
    arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert set(arguments) == {"port", "unit"} and arguments["unit"] in ("knots", "m/s"), arguments


def check_forecast(forecast):
    """What was answered, as an object or as JSON, must be what FORECAST says."""
    forecast = json.loads(forecast) if isinstance(forecast, str) else forecast
    assert set(forecast) == {"port", "heights", "trend"}, forecast
    assert all(type(height) in (int, float) for height in forecast["heights"]), forecast
    assert forecast["trend"] in ("rising", "falling"), forecast
    return json.dumps(forecast)


def check_images(text, count):
    """The vendor says how many images it was sent."""
    assert re.search(rf"\b{count} images?\b", text), f"not {count} images: {text}"
    return text


def main(client_of):
    """Tells all cases, several at a time; `client_of` makes the client of a gateway's URL and a key."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--key", required=True)
    parser.add_argument("--vendor", action="append", required=True)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    client = client_of(options.url, options.key)
    everything = [SimpleNamespace(dialect=d, **{state: f"{d}-{state}" for state in STATES}) for d in options.vendor]
    work = []
    for name, (function, only) in _CASES.items():
        for models in everything if only is not None else everything[:1]:
            told = name if only is None else f"{models.dialect}::{name}"
            if options.only in told and (not only or models.dialect in only):
                work.append((told, function, models))
    failed = False
    with ThreadPoolExecutor(8) as pool:
        for future in as_completed([pool.submit(_tell, client, *one) for one in work]):
            result = future.result()
            failed |= not result["ok"]
            print(json.dumps(result), flush=True)
    sys.exit(failed)


def _tell(client, name, function, models):
    try:
        return {"case": name, "ok": True, "detail": str(function(client, models))}
    except Exception as error:  # Whatever it is, it is this case's result, and the next case still runs.
        return {"case": name, "ok": False, "detail": f"{type(error).__name__}: {error}"}
