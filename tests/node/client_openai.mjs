// The official OpenAI client for Node, unmodified, against a gateway. See cases.mjs for how it is called.

import assert from "node:assert/strict";
import OpenAI from "openai";
import {
  checkForecast, checkImages, checkTide, checkWind, collect, forecast, imageUrl, longQuestion, main, png, question, raised,
  refusal, tide, toolQuestion, toolResult, twoToolsQuestion, wind,
} from "./cases.mjs";

const user = (content) => [{ role: "user", content }];
const tool = ({ name, description, schema }) => ({ type: "function", function: { name, description, parameters: schema } });
// The Responses API has the same without the inner object.
const flatTool = ({ name, description, schema }) => ({ type: "function", name, description, parameters: schema, strict: true });
const both = [tool(tide), tool(wind)];

const chat = (client, model, { messages = user(question), ...more } = {}, options = {}) =>
  client.chat.completions.create({ model, messages, ...more }, options);

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

/** A whole stream: pieces under one id, one finish reason at the end. */
function checkStream(chunks, reason) {
  const reasons = chunks.filter((chunk) => chunk.choices.length).map((chunk) => chunk.choices[0].finish_reason);
  assert.equal(reasons.at(-1), reason);
  assert.ok(!reasons.slice(0, -1).some(Boolean), reasons.join());
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1, "more than one id in one stream");
}

/** A stream that must end in an error after some content. */
async function breaksOff(client, model) {
  const chunks = [];
  const error = await raised(OpenAI.APIError, collect(await chat(client, model, { stream: true }), chunks));
  assert.ok(textOf(chunks), "the end came before any content: this was not in mid-stream");
  assert.ok(chunks.every((chunk) => chunk.choices.every((choice) => !choice.finish_reason)), "it claims to be finished");
  return error.message;
}

const vendorCases = {
  // === Chat completions ===

  async plain(client, { route }) {
    const reply = await chat(client, route);
    assert.equal(reply.object, "chat.completion");
    assert.ok(reply.choices[0].message.content, "no content");
    assert.equal(reply.choices[0].finish_reason, "stop");
    assert.ok(reply.usage.prompt_tokens > 0 && reply.usage.completion_tokens > 0, JSON.stringify(reply.usage));
    assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
    return `served by ${reply.model}`;
  },

  // Everything usual at once: a system prompt, several turns, sampling parameters, a stop sequence, a limit.
  async conversation(client, { route }) {
    const messages = [
      { role: "system", content: "You are a harbour master." },
      ...user("Is the tide in?"),
      { role: "assistant", content: "It is." },
      ...user([{ type: "text", text: "And tomorrow?" }, { type: "text", text: "In 300 words." }]),
    ];
    const more = { temperature: 0.2, top_p: 0.9, stop: ["THE END"], user: "a-sailor", max_completion_tokens: 5 };
    const reply = await chat(client, route, { messages, ...more });
    assert.equal(reply.choices[0].finish_reason, "length");
    assert.ok(reply.usage.completion_tokens <= 5, JSON.stringify(reply.usage));
    return reply.choices[0].message.content;
  },

  async stream(client, { route }) {
    const chunks = await collect(await chat(client, route, { stream: true }));
    checkStream(chunks, "stop");
    assert.ok(chunks.filter((chunk) => chunk.choices[0]?.delta.content).length > 1, "the answer came in one piece");
    assert.ok(chunks.every((chunk) => chunk.choices.length), "a chunk without choices, though no usage was asked for");
    assert.ok(chunks.every((chunk) => !chunk.usage), "usage, though it was not asked for");
    return `${chunks.length} chunks`;
  },

  async stream_with_usage(client, { route }) {
    const chunks = await collect(await chat(client, route, { stream: true, stream_options: { include_usage: true } }));
    const last = chunks.pop();
    checkStream(chunks, "stop");
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.total_tokens > 0, "no usage");
    assert.ok(chunks.every((chunk) => !chunk.usage), "usage in more than the last chunk");
    return `${last.usage.total_tokens} tokens`;
  },

  async tools(client, { route }) {
    const messages = user(toolQuestion);
    const [first] = (await chat(client, route, { messages, tools: [tool(tide)], tool_choice: "auto" })).choices;
    assert.equal(first.finish_reason, "tool_calls");
    const [call, ...others] = first.message.tool_calls;
    assert.deepEqual([call.type, call.function.name, others], ["function", tide.name, []]);
    const input = checkTide(call.function.arguments);
    // The client's own object goes back in, as in every loop that an agent runs.
    messages.push(first.message, { role: "tool", tool_call_id: call.id, content: toolResult });
    const [last] = (await chat(client, route, { messages, tools: [tool(tide)] })).choices;
    assert.equal(last.finish_reason, "stop");
    assert.ok(last.message.content && !last.message.tool_calls, JSON.stringify(last));
    return `${input} -> ${last.message.content}`;
  },

  async parallel_tools(client, { route }) {
    const messages = user(twoToolsQuestion);
    const [first] = (await chat(client, route, { messages, tools: both })).choices;
    const calls = first.message.tool_calls;
    assert.deepEqual(calls.map((call) => call.function.name), [tide.name, wind.name]);
    assert.notEqual(calls[0].id, calls[1].id);
    checkTide(calls[0].function.arguments);
    checkWind(calls[1].function.arguments);
    messages.push(first.message, ...calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: toolResult })));
    const [last] = (await chat(client, route, { messages, tools: both })).choices;
    assert.equal(last.finish_reason, "stop");
    return last.message.content;
  },

  async tool_stream(client, { route }) {
    const chunks = await collect(await chat(client, route, { messages: user(twoToolsQuestion), tools: both, stream: true }));
    checkStream(chunks, "tool_calls");
    const calls = [];
    for (const delta of chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? [])) {
      if (delta.id) {
        assert.ok(!calls[delta.index], `call ${delta.index} begins twice`);
        calls[delta.index] = { id: delta.id, name: delta.function.name, input: "" };
      }
      calls[delta.index].input += delta.function.arguments ?? "";
    }
    assert.deepEqual(calls.map((call) => call.name), [tide.name, wind.name]);
    assert.notEqual(calls[0].id, calls[1].id);
    checkWind(calls[1].input);
    return checkTide(calls[0].input);
  },

  // The client's own assembly of a stream, which is stricter than it has to be.
  async tool_stream_helper(client, { route }) {
    const stream = client.chat.completions.stream({ model: route, messages: user(toolQuestion), tools: [tool(tide)] });
    let deltas = 0;
    stream.on("tool_calls.function.arguments.delta", () => (deltas += 1));
    const { choices } = await stream.finalChatCompletion();
    assert.ok(deltas, "no argument deltas");
    return checkTide(choices[0].message.tool_calls[0].function.arguments);
  },

  async json_schema(client, { route }) {
    const response_format = { type: "json_schema", json_schema: { name: "forecast", strict: true, schema: forecast } };
    const reply = await client.chat.completions.parse({ model: route, messages: user("A forecast for Dover."), response_format });
    assert.equal(reply.choices[0].finish_reason, "stop");
    assert.ok(reply.choices[0].message.parsed, "the client could not parse it");
    return checkForecast(reply.choices[0].message.content);
  },

  async image(client, { route }) {
    const content = [
      { type: "text", text: "What is on these charts?" },
      { type: "image_url", image_url: { url: `data:image/png;base64,${png}` } },
      { type: "image_url", image_url: { url: imageUrl, detail: "low" } },
    ];
    return checkImages((await chat(client, route, { messages: user(content) })).choices[0].message.content, 2);
  },

  // A request that the vendor finds at fault is the caller's own error, with the vendor's own words.
  async refused(client, { refused }) {
    const errors = [await raised(OpenAI.BadRequestError, chat(client, refused))];
    errors.push(await raised(OpenAI.BadRequestError, chat(client, refused, { stream: true })));
    for (const error of errors) {
      assert.ok(error.message.includes(refusal), error.message);
      assert.equal(error.type, "invalid_request_error");
    }
    return errors[0].message;
  },

  async all_down(client, { down }) {
    const errors = [await raised(OpenAI.InternalServerError, chat(client, down))];
    errors.push(await raised(OpenAI.InternalServerError, chat(client, down, { stream: true })));
    for (const error of errors) {
      assert.ok([502, 503, 504].includes(error.status), String(error.status));
      assert.ok(error.requestID, "no request id on an error");
      assert.ok(error.headers.get("retry-after"), "a refused client is not told when to come back");
    }
    return errors[0].message;
  },

  async cut_stream(client, { cut }) {
    return breaksOff(client, cut);
  },

  async error_in_stream(client, { error }) {
    return breaksOff(client, error);
  },

  async cancel(client, { cancel }) {
    for await (const chunk of await chat(client, cancel, { messages: user(longQuestion), stream: true })) {
      assert.ok(chunk.choices);
      break; // Leaving the loop aborts the request.
    }
    return "left after the first chunk";
  },

  async abort(client, { cancel }) {
    const abort = new AbortController();
    const stream = await chat(client, cancel, { messages: user(longQuestion), stream: true }, { signal: abort.signal });
    let seen = 0;
    for await (const _ of stream) {
      seen += 1;
      abort.abort();
    }
    assert.ok(seen >= 1);
    return `aborted after ${seen} chunks`;
  },

  // === The other APIs ===

  embeddings$openai: embeddings,
  embeddings$gemini: embeddings,

  async completions(client, { route }) {
    const reply = await client.completions.create({ model: route, prompt: question, max_tokens: 50 });
    assert.equal(reply.object, "text_completion");
    assert.equal(reply.choices[0].finish_reason, "stop");
    assert.ok(reply.choices[0].text && reply.usage.total_tokens > 0, JSON.stringify(reply));
    return reply.choices[0].text;
  },

  async completions_stream(client, { route }) {
    const chunks = await collect(await client.completions.create({ model: route, prompt: question, max_tokens: 50, stream: true }));
    checkStream(chunks, "stop");
    const text = chunks.map((chunk) => chunk.choices[0].text).join("");
    assert.ok(text, "no text");
    return text;
  },

  async responses(client, { route }) {
    const reply = await client.responses.create({ model: route, input: question, instructions: "Be brief.", store: false });
    assert.deepEqual([reply.object, reply.status, reply.error], ["response", "completed", null]);
    assert.ok(reply.output_text, JSON.stringify(reply.output));
    assert.ok(reply.usage.input_tokens > 0 && reply.usage.output_tokens > 0, JSON.stringify(reply.usage));
    return reply.output_text;
  },

  async responses_stream(client, { route }) {
    const events = await collect(await client.responses.create({ model: route, input: user(question), stream: true }));
    const kinds = events.map((event) => event.type);
    assert.deepEqual([kinds[0], kinds.at(-1)], ["response.created", "response.completed"]);
    assert.ok(events.every((event, n) => n === 0 || event.sequence_number > events[n - 1].sequence_number), "sequence");
    const deltas = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
    assert.ok(deltas.length > 1, "the answer came in one piece");
    const done = events.find((event) => event.type === "response.output_text.done").text;
    assert.equal(deltas.join(""), done);
    assert.equal(events.at(-1).response.output[0].content[0].text, done);
    return done;
  },

  async responses_tools(client, { route }) {
    const input = user(toolQuestion);
    const first = await client.responses.create({ model: route, input, tools: [flatTool(tide)] });
    const call = first.output.find((item) => item.type === "function_call");
    assert.equal(call.name, tide.name);
    const told = checkTide(call.arguments);
    input.push(...first.output, { type: "function_call_output", call_id: call.call_id, output: toolResult });
    const last = await client.responses.create({ model: route, input, tools: [flatTool(tide)] });
    assert.equal(last.status, "completed");
    assert.ok(last.output_text, JSON.stringify(last.output));
    return `${told} -> ${last.output_text}`;
  },

  // By the client's own helper, which raises where events do not fit together.
  async responses_tool_stream(client, { route }) {
    const stream = client.responses.stream({ model: route, input: user(toolQuestion), tools: [flatTool(tide)] });
    let input = "";
    stream.on("response.function_call_arguments.delta", ({ delta }) => (input += delta));
    const { output } = await stream.finalResponse();
    assert.equal(output.find((item) => item.type === "function_call").arguments, input);
    return checkTide(input);
  },

  async responses_json_schema(client, { route }) {
    const text = { format: { type: "json_schema", name: "forecast", strict: true, schema: forecast } };
    const reply = await client.responses.parse({ model: route, input: "A forecast for Dover.", text });
    return checkForecast(reply.output_text);
  },

  async responses_image(client, { route }) {
    const content = [
      { type: "input_text", text: "What is on this chart?" },
      { type: "input_image", image_url: `data:image/png;base64,${png}`, detail: "auto" },
    ];
    return checkImages((await client.responses.create({ model: route, input: user(content) })).output_text, 1);
  },

  async responses_refused(client, { refused }) {
    const error = await raised(OpenAI.BadRequestError, client.responses.create({ model: refused, input: question }));
    assert.ok(error.message.includes(refusal), error.message);
    return error.message;
  },

  // The last event says that it failed, or the client raises: a stream is never let look whole.
  async responses_cut_stream(client, { cut }) {
    const events = [];
    try {
      await collect(await client.responses.create({ model: cut, input: question, stream: true }), events);
    } catch (error) {
      assert.ok(error instanceof OpenAI.APIError, String(error));
      return error.message;
    }
    assert.ok(["response.failed", "error"].includes(events.at(-1).type), events.at(-1).type);
    return events.at(-1).type;
  },
};

async function embeddings(client, { vectors }) {
  const input = ["the tide comes in", "and goes out"];
  // Left alone, the client asks for base64 and decodes it.
  const base64 = await client.embeddings.create({ model: vectors, input });
  const floats = await client.embeddings.create({ model: vectors, input, encoding_format: "float" });
  for (const reply of [base64, floats]) {
    assert.deepEqual(reply.data.map((item) => item.index), [0, 1]);
    assert.ok(reply.data.every((item) => item.embedding.every(Number.isFinite)), "not a vector of numbers");
  }
  base64.data.forEach(({ embedding }, n) => {
    const other = floats.data[n].embedding;
    assert.equal(embedding.length, other.length);
    assert.ok(embedding.length > 0 && embedding.every((x, i) => Math.abs(x - other[i]) < 1e-6), "base64 and float differ");
  });
  return `${floats.data[0].embedding.length} dimensions`;
}

// Whatever stands behind.
const cases = {
  // What would need the vendor's memory of an earlier response is refused, and said.
  async state_is_refused(client, { route }) {
    const ask = client.responses.create({ model: route, input: question, previous_response_id: "resp_123" });
    const error = await raised(OpenAI.BadRequestError, ask);
    assert.ok(error.message.includes("previous_response_id"), error.message);
    return error.message;
  },

  async headers(client, { route }) {
    const { response } = await chat(client, route).withResponse();
    const found = ["target", "attempts", "cost", "request-id"].map((name) => [name, response.headers.get(`x-tidegate-${name}`)]);
    assert.ok(found.every(([, value]) => value), JSON.stringify(found));
    return JSON.stringify(Object.fromEntries(found));
  },

  async request_id(client, { route }) {
    const reply = await chat(client, route);
    assert.ok(reply._request_id, "the client found no request id");
    return reply._request_id;
  },

  async models_list(client, { route }) {
    const ids = (await collect(client.models.list())).map((model) => model.id);
    assert.ok(ids.includes(route), ids.join());
    return `${ids.length} models`;
  },

  async models_retrieve(client, { route }) {
    const model = await client.models.retrieve(route);
    assert.deepEqual([model.id, model.object], [route, "model"]);
    return `owned by ${model.owned_by}`;
  },

  async unknown_model(client, { route }) {
    const error = await raised(OpenAI.NotFoundError, chat(client, "no-such-model"));
    assert.equal(error.code, "model_not_found");
    assert.ok(error.message.includes(route), `known names are missing: ${error.message}`);
    await raised(OpenAI.NotFoundError, client.models.retrieve("no-such-model"));
    await raised(OpenAI.NotFoundError, client.responses.create({ model: "no-such-model", input: question }));
    return error.message;
  },

  async bad_request(client) {
    const error = await raised(OpenAI.BadRequestError, chat(client, 123));
    assert.equal(error.type, "invalid_request_error");
    assert.equal(error.param, "model");
    return error.message;
  },

  async bad_key(client, { route }) {
    const error = await raised(OpenAI.AuthenticationError, chat(client.withOptions({ apiKey: "wrong" }), route));
    assert.equal(error.code, "invalid_api_key");
    return error.message;
  },

  async many_at_once(client, { route }) {
    const one = async () => collect(await chat(client, route, { stream: true }));
    const streams = await Promise.all(Array.from({ length: 8 }, one));
    assert.ok(streams.every(textOf), "a stream without content");
    assert.equal(new Set(streams.map(([first]) => first.id)).size, streams.length, "streams share chunks");
    return `${streams.length} streams`;
  },
};

// The client's own retries would hide what the gateway did.
const clientOf = (url, apiKey) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 120_000 });
await main(clientOf, cases, vendorCases);
