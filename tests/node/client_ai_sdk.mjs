// The Vercel AI SDK, unmodified, against a gateway. See cases.mjs for how it is called, and in addition
//
//     --provider P   the package that speaks: openai (by the Responses API), openai-compatible (by chat completions) or
//                    anthropic (by messages)
//
// Its schemas are strict: an answer or an event that is not as the vendor documents it is an error here.

import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, isStepCount, jsonSchema, Output, streamText, tool } from "ai";
import {
  checkForecast, checkImages, checkTide, checkWind, collect, forecast, imageUrl, longQuestion, main, png, question, raised,
  refusal, tide, toolQuestion, toolResult, twoToolsQuestion, wind,
} from "./cases.mjs";

const providers = {
  openai: (settings) => createOpenAI(settings),
  "openai-compatible": (settings) =>
    createOpenAICompatible({ ...settings, name: "tidegate", includeUsage: true, supportsStructuredOutputs: true }),
  anthropic: (settings) => createAnthropic(settings),
};

// The SDK's own retries would hide what the gateway did; and Anthropic's API wants to be told how much.
// Told nothing else, its OpenAI package refers to earlier thoughts as something that the vendor has stored.
const providerOptions = { openai: { store: false } };
const usual = { maxRetries: 0, maxOutputTokens: 1024, providerOptions, onError() {} };
const ask = (model, more) => generateText({ model, ...usual, ...more });
// What the SDK warns of is looked at where it matters.
globalThis.AI_SDK_LOG_WARNINGS = false;

/** A stream's parts, and the error that it ended in. */
async function stream(model, more) {
  const { stream } = streamText({ model, ...usual, ...more });
  const parts = await collect(stream);
  return { parts, of: (type) => parts.filter((part) => part.type === type), error: parts.find((part) => part.type === "error")?.error };
}

/** Tools that remember what they were called with. */
function toolbox() {
  const called = [];
  const make = ({ name, description, schema }) => {
    const execute = (input) => {
      called.push([name, input]);
      return toolResult;
    };
    return tool({ description, inputSchema: jsonSchema(schema), execute });
  };
  return { called, tools: { [tide.name]: make(tide), [wind.name]: make(wind) } };
}

function checkCalled(called) {
  assert.deepEqual(called.map(([name]) => name).sort(), [tide.name, wind.name]);
  checkWind(called.find(([name]) => name === wind.name)[1]);
  return checkTide(called.find(([name]) => name === tide.name)[1]);
}

async function breaksOff(model) {
  const { of, error } = await stream(model, { prompt: question });
  assert.ok(of("text-delta").length, "the end came before any content: this was not in mid-stream");
  assert.ok(error, "no error in the stream");
  return String(error.message ?? error);
}

const vendorCases = {
  async plain(model, { route }) {
    const reply = await ask(model(route), { prompt: question });
    assert.ok(reply.text, "no text");
    assert.equal(reply.finishReason, "stop");
    assert.ok(reply.usage.inputTokens > 0 && reply.usage.outputTokens > 0, JSON.stringify(reply.usage));
    assert.deepEqual(reply.warnings ?? [], []);
    return `served by ${reply.response.modelId}`;
  },

  async conversation(model, { route }) {
    const messages = [
      { role: "user", content: "Is the tide in?" },
      { role: "assistant", content: "It is." },
      { role: "user", content: "And tomorrow? In 300 words." },
    ];
    const reply = await ask(model(route), { messages, instructions: "You are a harbour master.", maxOutputTokens: 16 });
    assert.equal(reply.finishReason, "length");
    return reply.text;
  },

  async stream(model, { route }) {
    const { of, error } = await stream(model(route), { prompt: question });
    assert.ok(!error, String(error?.message));
    assert.ok(of("text-delta").length > 1, "the answer came in one piece");
    const [end] = of("finish");
    assert.equal(end.finishReason, "stop");
    assert.ok(end.totalUsage.outputTokens > 0, JSON.stringify(end.totalUsage));
    return of("text-delta").map((part) => part.text).join("");
  },

  // The SDK's own loop: ask, run the tool, tell what it said, ask again.
  async tools(model, { route }) {
    const { called, tools } = toolbox();
    const only = { [tide.name]: tools[tide.name] };
    const reply = await ask(model(route), { prompt: toolQuestion, tools: only, stopWhen: isStepCount(3) });
    assert.deepEqual(reply.steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
    assert.ok(reply.text, "no final answer");
    return `${checkTide(called[0][1])} -> ${reply.text}`;
  },

  async parallel_tools(model, { route }) {
    const { called, tools } = toolbox();
    const reply = await ask(model(route), { prompt: twoToolsQuestion, tools, stopWhen: isStepCount(3) });
    assert.deepEqual(reply.steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
    assert.equal(reply.steps[0].toolCalls.length, 2);
    return checkCalled(called);
  },

  async tool_stream(model, { route }) {
    const { called, tools } = toolbox();
    const { of, error } = await stream(model(route), { prompt: twoToolsQuestion, tools, stopWhen: isStepCount(3) });
    assert.ok(!error, String(error?.message));
    assert.ok(of("tool-input-delta").length >= 2, "no argument deltas");
    for (const { toolCallId, input } of of("tool-call")) {
      const deltas = of("tool-input-delta").filter((part) => part.id === toolCallId);
      assert.deepEqual(JSON.parse(deltas.map((part) => part.delta).join("")), input);
    }
    assert.ok(of("text-delta").length, "no final answer");
    return checkCalled(called);
  },

  async json_schema(model, { route }) {
    const output = Output.object({ schema: jsonSchema(forecast), name: "forecast" });
    return checkForecast((await ask(model(route), { prompt: "A forecast for Dover.", output })).output);
  },

  async json_schema_stream(model, { route }) {
    const output = Output.object({ schema: jsonSchema(forecast), name: "forecast" });
    const result = streamText({ model: model(route), ...usual, prompt: "A forecast for Dover.", output });
    const partial = await collect(result.partialOutputStream);
    assert.ok(partial.length, "no partial objects");
    return checkForecast(await result.output);
  },

  async image(model, { route }) {
    const content = [
      { type: "text", text: "What is on these charts?" },
      { type: "file", mediaType: "image/png", data: Buffer.from(png, "base64") },
      { type: "file", mediaType: "image/png", data: new URL(imageUrl) },
    ];
    // Where a package says that its vendor takes no URLs, the SDK would fetch the image itself.
    const experimental_download = async (files) => files.map(() => null);
    const reply = await ask(model(route), { messages: [{ role: "user", content }], experimental_download });
    return checkImages(reply.text, 2);
  },

  async refused(model, { refused }) {
    const error = await raised(APICallError.isInstance, ask(model(refused), { prompt: question }));
    assert.equal(error.statusCode, 400);
    assert.ok(error.message.includes(refusal), error.message);
    assert.ok(!error.isRetryable);
    const streamed = (await stream(model(refused), { prompt: question })).error;
    assert.ok(APICallError.isInstance(streamed) && streamed.message.includes(refusal), String(streamed));
    return error.message;
  },

  async all_down(model, { down }) {
    const error = await raised(APICallError.isInstance, ask(model(down), { prompt: question }));
    assert.ok([502, 503, 504, 529].includes(error.statusCode), String(error.statusCode));
    assert.ok(error.responseHeaders["retry-after"], "a refused client is not told when to come back");
    const streamed = (await stream(model(down), { prompt: question })).error;
    assert.ok(APICallError.isInstance(streamed), String(streamed));
    return error.message;
  },

  async cut_stream(model, { cut }) {
    return breaksOff(model(cut));
  },

  async error_in_stream(model, { error }) {
    return breaksOff(model(error));
  },

  async cancel(model, { cancel }) {
    const abort = new AbortController();
    const result = streamText({ model: model(cancel), ...usual, prompt: longQuestion, abortSignal: abort.signal });
    let aborted = false;
    for await (const { type } of result.stream) {
      if (type === "text-delta") abort.abort();
      aborted ||= type === "abort";
    }
    assert.ok(aborted, "the stream did not end in an abort");
    return "aborted after the first text";
  },
};

// Whatever stands behind.
const cases = {
  async unknown_model(model, { route }) {
    const error = await raised(APICallError.isInstance, ask(model("no-such-model"), { prompt: question }));
    assert.equal(error.statusCode, 404);
    assert.ok(error.message.includes(route), `known names are missing: ${error.message}`);
    return error.message;
  },

  async many_at_once(model, { route }) {
    const replies = await Promise.all(Array.from({ length: 8 }, () => stream(model(route), { prompt: question })));
    assert.ok(replies.every(({ of, error }) => of("text-delta").length && !error), "a stream without text");
    return `${replies.length} streams`;
  },
};

const clientOf = (url, apiKey, { provider }) => providers[provider]({ baseURL: `${url}/v1`, apiKey });
await main(clientOf, cases, vendorCases, { provider: { type: "string" } });
