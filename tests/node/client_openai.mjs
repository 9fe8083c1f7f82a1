// The official OpenAI client for Node, unmodified, against a gateway.
//
//     node client_openai.mjs BASE_URL --model M --embedding M --down M --cut M --cancel M [--key K] [--only CASE]
//
//     BASE_URL        with /v1
//     --model M       answers, plain and streaming
//     --embedding M   answers embeddings, the same vector for the same text
//     --down M        all of its targets fail before the first token
//     --cut M         streams some content, then its connection is cut
//     --cancel M      streams slowly enough to be left in the middle: at least a second
//     --key K         the API key to send (default: "unused")
//     --only CASE     run only this case
//
// Prints one line of JSON a case, {"case", "ok", "detail"}, and exits with 1 if any failed. The caller has put the vendors
// into these states, and checks afterwards what they saw: that a cancelled request was cancelled there too, for one.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import OpenAI from "openai";

const messages = [{ role: "user", content: "Say something short about the tide." }];

const option = { type: "string" };
const { positionals, values: names } = parseArgs({
  allowPositionals: true,
  options: {
    model: option, embedding: option, down: option, cut: option, cancel: option, only: option,
    key: { type: "string", default: "unused" },
  },
});
assert.equal(positionals.length, 1, "one base URL is needed");
for (const name of ["model", "embedding", "down", "cut", "cancel"]) assert.ok(names[name], `--${name} is needed`);

// The client's own retries would hide what the gateway did.
const client = new OpenAI({ baseURL: positionals[0], apiKey: names.key, maxRetries: 0, timeout: 30_000 });
const chat = (model, more = {}, options = {}) => client.chat.completions.create({ model, messages, ...more }, options);

/** The error of this kind that the promise must be rejected with. */
async function raised(kind, promise) {
  const error = await promise.then(() => assert.fail(`no ${kind.name} was raised`), (error) => error);
  if (!(error instanceof kind)) throw error;
  return error;
}

async function collect(stream, chunks = []) {
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

// Each case returns what is worth telling, or throws.
const cases = {
  async plain() {
    const reply = await chat(names.model);
    assert.equal(reply.object, "chat.completion");
    assert.ok(reply.choices[0].message.content, "no content");
    assert.equal(reply.choices[0].finish_reason, "stop");
    assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
    return `served by ${reply.model}`;
  },

  async headers() {
    const { response } = await chat(names.model).withResponse();
    const found = ["target", "attempts", "cost", "request-id"].map((name) => [name, response.headers.get(`x-tidegate-${name}`)]);
    assert.ok(found.every(([, value]) => value), JSON.stringify(found));
    return JSON.stringify(Object.fromEntries(found));
  },

  async request_id() {
    const reply = await chat(names.model);
    assert.ok(reply._request_id, "the client found no request id");
    return reply._request_id;
  },

  async stream() {
    const chunks = await collect(await chat(names.model, { stream: true }));
    assert.ok(textOf(chunks), "no content");
    assert.equal(chunks.filter((chunk) => chunk.choices.length).at(-1).choices[0].finish_reason, "stop");
    assert.ok(chunks.every((chunk) => chunk.choices.length), "a chunk without choices, though no usage was asked for");
    assert.ok(chunks.every((chunk) => !chunk.usage), "usage, though it was not asked for");
    assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1, "more than one id in one stream");
    return `${chunks.length} chunks`;
  },

  async stream_with_usage() {
    const chunks = await collect(await chat(names.model, { stream: true, stream_options: { include_usage: true } }));
    assert.ok(textOf(chunks), "no content");
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.total_tokens > 0, "no usage");
    assert.ok(chunks.every((chunk) => !chunk.usage), "usage in more than the last chunk");
    return `${last.usage.total_tokens} tokens`;
  },

  async embeddings() {
    const input = ["the tide comes in", "and goes out"];
    // Left alone, the client asks for base64 and decodes it.
    const base64 = await client.embeddings.create({ model: names.embedding, input });
    const floats = await client.embeddings.create({ model: names.embedding, input, encoding_format: "float" });
    for (const reply of [base64, floats]) {
      assert.deepEqual(reply.data.map((item) => item.index), [0, 1]);
      assert.ok(reply.data.every((item) => item.embedding.every(Number.isFinite)), "not a vector of numbers");
      assert.ok(reply.usage.prompt_tokens > 0);
    }
    base64.data.forEach(({ embedding }, n) => {
      const other = floats.data[n].embedding;
      assert.equal(embedding.length, other.length);
      assert.ok(embedding.length > 0 && embedding.every((x, i) => Math.abs(x - other[i]) < 1e-6), "base64 and float differ");
    });
    return `${floats.data[0].embedding.length} dimensions`;
  },

  async models_list() {
    const ids = (await collect(client.models.list())).map((model) => model.id);
    assert.ok(ids.includes(names.model), ids.join());
    return `${ids.length} models`;
  },

  async models_retrieve() {
    const model = await client.models.retrieve(names.model);
    assert.deepEqual([model.id, model.object], [names.model, "model"]);
    return `owned by ${model.owned_by}`;
  },

  async unknown_model() {
    const error = await raised(OpenAI.NotFoundError, chat("no-such-model"));
    assert.equal(error.code, "model_not_found");
    assert.ok(error.message.includes(names.model), `known names are missing: ${error.message}`);
    await raised(OpenAI.NotFoundError, client.models.retrieve("no-such-model"));
    return error.message;
  },

  async bad_request() {
    const error = await raised(OpenAI.BadRequestError, chat(123));
    assert.equal(error.type, "invalid_request_error");
    assert.equal(error.param, "model");
    return error.message;
  },

  async all_down() {
    const errors = [await raised(OpenAI.InternalServerError, chat(names.down))];
    errors.push(await raised(OpenAI.InternalServerError, chat(names.down, { stream: true })));
    for (const error of errors) {
      assert.ok([502, 503, 504].includes(error.status), String(error.status));
      assert.ok(error.requestID, "no request id on an error");
      assert.ok(error.headers.get("retry-after"), "a refused client is not told when to come back");
    }
    return errors[0].message;
  },

  async cut_stream() {
    const chunks = [];
    const error = await raised(OpenAI.APIError, collect(await chat(names.cut, { stream: true }), chunks));
    assert.ok(textOf(chunks), "the cut came before any content: this was not a cut in mid-stream");
    assert.ok(chunks.every((chunk) => chunk.choices.every((choice) => !choice.finish_reason)), "it claims to be finished");
    return error.message;
  },

  async cancel() {
    const stream = await chat(names.cancel, { stream: true });
    for await (const chunk of stream) {
      assert.ok(chunk.choices);
      break; // Leaving the loop aborts the request.
    }
    return "left after the first chunk";
  },

  async abort() {
    const abort = new AbortController();
    const stream = await chat(names.cancel, { stream: true }, { signal: abort.signal });
    let seen = 0;
    for await (const _ of stream) {
      seen += 1;
      abort.abort();
    }
    assert.ok(seen >= 1);
    return `aborted after ${seen} chunks`;
  },

  async many_at_once() {
    const streams = await Promise.all(Array.from({ length: 8 }, async () => collect(await chat(names.model, { stream: true }))));
    assert.ok(streams.every(textOf), "a stream without content");
    assert.equal(new Set(streams.map(([first]) => first.id)).size, streams.length, "streams share chunks");
    return `${streams.length} streams`;
  },
};

assert.ok(!names.only || names.only in cases, `no such case: ${names.only}`);
for (const [name, run] of Object.entries(cases)) {
  if (names.only && names.only !== name) continue;
  let result;
  try {
    result = { case: name, ok: true, detail: await run() };
  } catch (error) {
    // Whatever it is, it is this case's result, and the next case still runs.
    result = { case: name, ok: false, detail: `${error.name}: ${error.message}` };
    process.exitCode = 1;
  }
  console.log(JSON.stringify(result));
}
