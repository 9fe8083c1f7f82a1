// npm's eventsource-parser, asked by the differential tests: for each line of JSON, a stream's pieces as lists of bytes, it
// prints a line with the data of its events.

import { createInterface } from "node:readline";
import { createParser } from "eventsource-parser";

for await (const line of createInterface({ input: process.stdin })) {
  const found = [];
  const parser = createParser({ onEvent: ({ data }) => found.push(data) });
  const decoder = new TextDecoder();
  for (const piece of JSON.parse(line)) parser.feed(decoder.decode(Uint8Array.from(piece), { stream: true }));
  console.log(JSON.stringify(found));
}
