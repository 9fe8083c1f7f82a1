// What the scripts of all Node clients share: their command line, the material of the cases, how results are told.
//
//     node client_X.mjs URL --key K --vendor openai --vendor anthropic --vendor gemini [--only TEXT]
//
//     URL           the gateway, without /v1
//     --key K       the API key to send
//     --vendor D    a dialect in which a vendor behind the gateway is spoken to. Its models are
//                     D-route     answers, plain and streaming; calls a tool it is given, keeps to a schema, counts images
//                     D-vectors   answers embeddings, the same vector for the same text
//                     D-refused   its vendor finds the request at fault, with `refusal` as its words
//                     D-down      all of its targets fail before the first token
//                     D-cut       streams some content, then its connection is cut
//                     D-error     streams some content, then its vendor reports an error inside the stream
//                     D-cancel    streams slowly enough to be left in the middle: at least a second
//     --only TEXT   run only the cases whose name contains this
//
// Prints a line of JSON for each case, {"case", "ok", "detail"}, and exits with 1 if any failed. A case that is about a
// vendor is told once for each, as "D::case". The caller has put the vendors into these states, and checks afterwards what
// they saw: that a cancelled request was cancelled there too, for one.

import assert from "node:assert/strict";
import { parseArgs } from "node:util";

export const question = "Say something short about the tide.";
export const longQuestion = "Say 100 words about the tide.";
export const refusal = "the tide table has no such page";
const states = ["route", "vectors", "refused", "down", "cut", "error", "cancel"];

// A tool, in the words that every API has for one: name, description, JSON Schema.
export const tide = {
  name: "tide_at",
  description: "The times of high water at a port.",
  schema: {
    type: "object",
    properties: { port: { type: "string" }, days: { type: "integer" } },
    required: ["port", "days"],
    additionalProperties: false,
  },
};
export const wind = {
  name: "wind_at",
  description: "The wind at a port.",
  schema: {
    type: "object",
    properties: { port: { type: "string" }, unit: { type: "string", enum: ["knots", "m/s"] } },
    required: ["port", "unit"],
    additionalProperties: false,
  },
};
export const toolQuestion = "When is high water at Dover?";
export const twoToolsQuestion = "Tell me both the tide and the wind at Dover.";
export const toolResult = "high water at 04:12 and 16:38";

export const forecast = {
  type: "object",
  properties: {
    port: { type: "string" },
    heights: { type: "array", items: { type: "number" } },
    trend: { type: "string", enum: ["rising", "falling"] },
  },
  required: ["port", "heights", "trend"],
  additionalProperties: false,
};

// One transparent pixel.
export const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const imageUrl = "https://tides.example/chart.png";

/** The error of this kind that the promise must be rejected with; `kind` is a class, or a function that knows it. */
export async function raised(kind, promise) {
  const error = await promise.then(() => assert.fail(`no ${kind.name} was raised`), (error) => error);
  if (!(kind.prototype instanceof Error ? error instanceof kind : kind(error))) throw error;
  return error;
}

/** All of a stream; what came before an error is in `parts`. */
export async function collect(stream, parts = []) {
  for await (const part of stream) parts.push(part);
  return parts;
}

const object = (json) => (typeof json === "string" ? JSON.parse(json) : json);

/** What the model called the tide tool with, as an object or as JSON, must be what the tool's schema says. */
export function checkTide(input) {
  const { port, days, ...rest } = object(input);
  assert.deepEqual([typeof port, Number.isInteger(days), rest], ["string", true, {}], JSON.stringify(input));
  return JSON.stringify({ port, days });
}

/** The same of the wind tool. */
export function checkWind(input) {
  const { port, unit, ...rest } = object(input);
  assert.ok(typeof port === "string" && wind.schema.properties.unit.enum.includes(unit), JSON.stringify(input));
  assert.deepEqual(rest, {});
}

/** What was answered, as an object or as JSON, must be what `forecast` says. */
export function checkForecast(answer) {
  const { port, heights, trend, ...rest } = object(answer);
  assert.ok(typeof port === "string" && heights.every(Number.isFinite), JSON.stringify(answer));
  assert.ok(forecast.properties.trend.enum.includes(trend), JSON.stringify(answer));
  assert.deepEqual(rest, {});
  return JSON.stringify({ port, heights, trend });
}

/** The vendor says how many images it was sent. */
export function checkImages(text, count) {
  assert.match(text, new RegExp(`\\b${count} images?\\b`));
  return text;
}

/**
 * Tells all cases, all at a time. `clientOf` makes the client of a gateway's URL, a key and the other options; `cases` are
 * about the gateway alone, `vendorCases` are told for each vendor, and a case named `name$dialect` for this one only.
 */
export async function main(clientOf, cases, vendorCases, more = {}) {
  const option = { type: "string" };
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { key: option, only: { ...option, default: "" }, vendor: { ...option, multiple: true }, ...more },
  });
  assert.ok(positionals.length === 1 && values.key && values.vendor, "a URL, --key and --vendor are needed");
  const client = clientOf(positionals[0], values.key, values);
  const everything = values.vendor.map((dialect) => [dialect, Object.fromEntries(states.map((s) => [s, `${dialect}-${s}`]))]);
  const work = Object.entries(cases).map(([name, run]) => [name, run, everything[0][1]]);
  for (const [name, run] of Object.entries(vendorCases)) {
    const [bare, only] = name.split("$");
    for (const [dialect, models] of everything) if (!only || only === dialect) work.push([`${dialect}::${bare}`, run, models]);
  }
  const wanted = work.filter(([name]) => name.includes(values.only));
  await Promise.all(wanted.map(([name, run, models]) => tell(name, () => run(client, models))));
}

async function tell(name, run) {
  let result;
  try {
    result = { case: name, ok: true, detail: String(await run()) };
  } catch (error) {
    // Whatever it is, it is this case's result, and the other cases still run.
    result = { case: name, ok: false, detail: `${error?.name}: ${error?.message}` };
    process.exitCode = 1;
  }
  console.log(JSON.stringify(result));
}
