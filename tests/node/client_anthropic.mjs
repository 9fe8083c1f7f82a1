// The official Anthropic client for Node, unmodified, against a gateway. See cases.mjs for how it is called.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import {
  checkForecast, checkImages, checkTide, checkWind, collect, forecast, imageUrl, longQuestion, main, png, question, raised,
  refusal, tide, toolQuestion, toolResult, twoToolsQuestion, wind,
} from "./cases.mjs";

const user = (content) => [{ role: "user", content }];
const tool = ({ name, description, schema }) => ({ name, description, input_schema: schema });
const both = [tool(tide), tool(wind)];
const thinking = { type: "enabled", budget_tokens: 1024 };

const message = (client, model, { messages = user(question), max_tokens = 1024, ...more } = {}, options = {}) =>
  client.messages.create({ model, max_tokens, messages, ...more }, options);

const textOf = (reply) => reply.content.map((block) => (block.type === "text" ? block.text : "")).join("");
const calls = (reply) => reply.content.filter((block) => block.type === "tool_use");

/** A stream as Anthropic documents it: blocks one after the other, each begun and ended, then why it stopped. */
function checkOrder(all, reason) {
  const events = all.filter((event) => event.type !== "ping");
  const kinds = events.map((event) => event.type);
  assert.deepEqual([kinds[0], ...kinds.slice(-2)], ["message_start", "message_delta", "message_stop"]);
  let open = null;
  let blocks = 0;
  for (const { type, index } of events) {
    if (type === "content_block_start") {
      assert.ok(open === null && index === blocks, `block ${index} begins inside ${open}`);
      open = index;
      blocks += 1;
    } else if (type === "content_block_delta") {
      assert.equal(index, open, "a delta outside its block");
    } else if (type === "content_block_stop") {
      assert.equal(index, open, "a block ends inside another");
      open = null;
    }
  }
  assert.ok(open === null && blocks > 0, "no block, or one that never ends");
  assert.equal(events.at(-2).delta.stop_reason, reason);
  assert.ok(events.at(-2).usage.output_tokens > 0, "no usage");
}

/** A stream that must end in an error after some content. */
async function breaksOff(client, model) {
  const events = [];
  const error = await raised(Anthropic.APIError, collect(await message(client, model, { stream: true }), events));
  const kinds = events.map((event) => event.type);
  assert.ok(kinds.includes("content_block_delta"), "the end came before any content: this was not in mid-stream");
  assert.ok(!kinds.includes("message_stop") && !kinds.includes("message_delta"), "it claims to be finished");
  assert.ok(error.error?.error?.type && error.error.error.message, error.message);
  return error.message;
}

const vendorCases = {
  async plain(client, { route }) {
    const reply = await message(client, route);
    assert.deepEqual([reply.type, reply.role, reply.stop_reason], ["message", "assistant", "end_turn"]);
    assert.ok(textOf(reply), "no text");
    assert.ok(reply.usage.input_tokens > 0 && reply.usage.output_tokens > 0, JSON.stringify(reply.usage));
    return `served by ${reply.model}`;
  },

  // Everything usual at once: system blocks with a cache mark, several turns, a stop sequence, a limit.
  async conversation(client, { route }) {
    const messages = [
      ...user("Is the tide in?"),
      { role: "assistant", content: [{ type: "text", text: "It is." }] },
      ...user([{ type: "text", text: "And tomorrow?" }, { type: "text", text: "In 300 words." }]),
    ];
    const system = [{ type: "text", text: "You are a harbour master.", cache_control: { type: "ephemeral" } }];
    const more = { stop_sequences: ["THE END"], metadata: { user_id: "a-sailor" }, max_tokens: 5 };
    const reply = await message(client, route, { messages, system, ...more });
    assert.equal(reply.stop_reason, "max_tokens");
    assert.ok(reply.usage.output_tokens <= 5, JSON.stringify(reply.usage));
    return textOf(reply);
  },

  async stream(client, { route }) {
    const events = await collect(await message(client, route, { stream: true }));
    checkOrder(events, "end_turn");
    const deltas = events.filter((event) => event.type === "content_block_delta");
    assert.ok(deltas.length > 1 && deltas.every((event) => event.delta.type === "text_delta"), "the answer came in one piece");
    return `${deltas.length} deltas`;
  },

  async stream_helper(client, { route }) {
    const stream = client.messages.stream({ model: route, max_tokens: 1024, messages: user(question) });
    let text = "";
    stream.on("text", (delta) => (text += delta));
    const final = await stream.finalMessage();
    assert.ok(text && text === textOf(final), JSON.stringify(final));
    assert.equal(final.stop_reason, "end_turn");
    return text;
  },

  async tools(client, { route }) {
    const messages = user(toolQuestion);
    const first = await message(client, route, { messages, tools: [tool(tide)], tool_choice: { type: "auto" } });
    assert.equal(first.stop_reason, "tool_use");
    const [call, ...others] = calls(first);
    assert.deepEqual([call.name, others], [tide.name, []]);
    const input = checkTide(call.input);
    messages.push({ role: "assistant", content: first.content });
    messages.push(...user([{ type: "tool_result", tool_use_id: call.id, content: toolResult }]));
    const last = await message(client, route, { messages, tools: [tool(tide)] });
    assert.equal(last.stop_reason, "end_turn");
    assert.ok(textOf(last), JSON.stringify(last));
    return `${input} -> ${textOf(last)}`;
  },

  async parallel_tools(client, { route }) {
    const messages = user(twoToolsQuestion);
    const first = await message(client, route, { messages, tools: both });
    assert.deepEqual(calls(first).map((call) => call.name), [tide.name, wind.name]);
    assert.notEqual(calls(first)[0].id, calls(first)[1].id);
    checkTide(calls(first)[0].input);
    checkWind(calls(first)[1].input);
    const results = calls(first).map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: toolResult }));
    // One of them has failed, and says so in blocks.
    Object.assign(results[1], { is_error: true, content: [{ type: "text", text: "no wind today" }] });
    messages.push({ role: "assistant", content: first.content }, ...user(results));
    const last = await message(client, route, { messages, tools: both });
    assert.equal(last.stop_reason, "end_turn");
    return textOf(last);
  },

  async tool_stream(client, { route }) {
    const events = await collect(await message(client, route, { messages: user(twoToolsQuestion), tools: both, stream: true }));
    checkOrder(events, "tool_use");
    const found = new Map();
    for (const { type, index, content_block: block, delta } of events) {
      if (type === "content_block_start" && block.type === "tool_use") found.set(index, [block.name, ""]);
      if (type === "content_block_delta" && delta.type === "input_json_delta") found.get(index)[1] += delta.partial_json;
    }
    const [[first, tideInput], [second, windInput]] = found.values();
    assert.deepEqual([first, second, found.size], [tide.name, wind.name, 2]);
    checkWind(windInput);
    return checkTide(tideInput);
  },

  async tool_stream_helper(client, { route }) {
    const ask = { model: route, max_tokens: 1024, messages: user(toolQuestion), tools: [tool(tide)] };
    return checkTide(calls(await client.messages.stream(ask).finalMessage())[0].input);
  },

  async json_schema(client, { route }) {
    const output_config = { format: { type: "json_schema", schema: forecast } };
    const reply = await message(client, route, { messages: user("A forecast for Dover."), output_config });
    assert.equal(reply.stop_reason, "end_turn");
    return checkForecast(textOf(reply));
  },

  async image(client, { route }) {
    const content = [
      { type: "image", source: { type: "base64", media_type: "image/png", data: png } },
      { type: "image", source: { type: "url", url: imageUrl } },
      { type: "text", text: "What is on these charts?" },
    ];
    return checkImages(textOf(await message(client, route, { messages: user(content) })), 2);
  },

  thinking$anthropic: thinks,
  thinking$gemini: thinks,
  thinking_stream$anthropic: thinksInStream,
  thinking_stream$gemini: thinksInStream,

  // An OpenAI vendor's chat API does not show what a model thinks. Asking for it still gets an answer.
  async thinking_is_no_obstacle$openai(client, { route }) {
    const reply = await message(client, route, { max_tokens: 4096, thinking });
    assert.equal(reply.stop_reason, "end_turn");
    assert.ok(textOf(reply), JSON.stringify(reply));
    return textOf(reply);
  },

  count_tokens$anthropic: countsTokens,
  count_tokens$gemini: countsTokens,

  // A vendor of chat completions counts no tokens: the gateway estimates them, and says so.
  async count_tokens_is_estimated$openai(client, { route }) {
    const count = client.messages.countTokens({ model: route, messages: user(question) });
    const { data, response } = await count.withResponse();
    assert.equal(response.headers.get("x-tidegate-estimated"), "true");
    assert.ok(data.input_tokens > 5, JSON.stringify(data));
    return data.input_tokens;
  },

  // A request that the vendor finds at fault is the caller's own error, with the vendor's own words.
  async refused(client, { refused }) {
    const errors = [await raised(Anthropic.BadRequestError, message(client, refused))];
    errors.push(await raised(Anthropic.BadRequestError, message(client, refused, { stream: true })));
    for (const { error } of errors) {
      assert.deepEqual([error.type, error.error.type], ["error", "invalid_request_error"]);
      assert.ok(error.error.message.includes(refusal), error.error.message);
    }
    return errors[0].message;
  },

  async all_down(client, { down }) {
    const errors = [await raised(Anthropic.InternalServerError, message(client, down))];
    errors.push(await raised(Anthropic.InternalServerError, message(client, down, { stream: true })));
    for (const error of errors) {
      assert.ok([502, 503, 504, 529].includes(error.status), String(error.status));
      assert.ok(["api_error", "overloaded_error"].includes(error.error.error.type), JSON.stringify(error.error));
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
    for await (const event of await message(client, cancel, { messages: user(longQuestion), stream: true })) {
      if (event.type === "content_block_delta") break; // Leaving the loop aborts the request.
    }
    return "left after the first delta";
  },

  async abort(client, { cancel }) {
    const stream = client.messages.stream({ model: cancel, max_tokens: 1024, messages: user(longQuestion) });
    stream.once("text", () => stream.abort());
    const error = await raised(Anthropic.APIUserAbortError, stream.finalMessage());
    return error.message;
  },
};

async function countsTokens(client, { route }) {
  const count = (more) => client.messages.countTokens({ model: route, ...more });
  const short = await count({ messages: user("Hi.") });
  const long = await count({ messages: user(question.repeat(20)), system: "You are a harbour master.", tools: [tool(tide)] });
  assert.ok(0 < short.input_tokens && short.input_tokens < long.input_tokens, JSON.stringify([short, long]));
  return `${short.input_tokens} and ${long.input_tokens}`;
}

async function thinks(client, { route }) {
  const messages = user(question);
  const reply = await message(client, route, { messages, max_tokens: 4096, thinking });
  const [thought] = reply.content;
  assert.ok(thought.type === "thinking" && thought.thinking, JSON.stringify(reply.content));
  assert.ok(textOf(reply), "it only thought");
  // As every client with memory does, it sends the thoughts back, signature and all.
  messages.push({ role: "assistant", content: reply.content }, ...user("And tomorrow?"));
  assert.ok(textOf(await message(client, route, { messages, max_tokens: 4096, thinking })), "no second answer");
  return thought.thinking;
}

async function thinksInStream(client, { route }) {
  const stream = client.messages.stream({ model: route, max_tokens: 4096, messages: user(question), thinking });
  let thoughts = "";
  let text = "";
  stream.on("thinking", (delta) => {
    assert.equal(text, "", "the answer comes before the thought");
    thoughts += delta;
  });
  stream.on("text", (delta) => (text += delta));
  const final = await stream.finalMessage();
  assert.ok(thoughts && thoughts === final.content[0].thinking, JSON.stringify(final.content));
  assert.ok(text && text === textOf(final), JSON.stringify(final.content));
  return thoughts;
}

// Whatever stands behind.
const cases = {
  async request_id(client, { route }) {
    const reply = await message(client, route);
    assert.ok(reply._request_id, "the client found no request id");
    return reply._request_id;
  },

  // The client's other way to say who it is, which agents use.
  async bearer_token(client, { route }) {
    const bearer = new Anthropic({ baseURL: client.baseURL, authToken: client.apiKey, apiKey: null, maxRetries: 0 });
    return textOf(await message(bearer, route));
  },

  async bad_key(client, { route }) {
    const error = await raised(Anthropic.AuthenticationError, message(client.withOptions({ apiKey: "wrong" }), route));
    assert.equal(error.error.error.type, "authentication_error");
    return error.message;
  },

  async unknown_model(client, { route }) {
    const error = await raised(Anthropic.NotFoundError, message(client, "no-such-model"));
    assert.equal(error.error.error.type, "not_found_error");
    assert.ok(error.message.includes(route), `known names are missing: ${error.message}`);
    return error.message;
  },

  async bad_request(client) {
    const error = await raised(Anthropic.BadRequestError, message(client, 123));
    assert.equal(error.error.error.type, "invalid_request_error");
    return error.message;
  },

  async many_at_once(client, { route }) {
    const one = async () => collect(await message(client, route, { stream: true }));
    const streams = await Promise.all(Array.from({ length: 8 }, one));
    for (const events of streams) checkOrder(events, "end_turn");
    assert.equal(new Set(streams.map(([first]) => first.message.id)).size, streams.length, "streams share events");
    return `${streams.length} streams`;
  },
};

// The client's own retries would hide what the gateway did.
const clientOf = (baseURL, apiKey) => new Anthropic({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });
await main(clientOf, cases, vendorCases);
