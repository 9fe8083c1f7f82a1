// Where the worker begins. Its configuration stands beside the wasm and not in it, so that one wasm serves every
// configuration: the build has checked both files, and `runtime.js` hands them over.

import config from "./config.txt";
import prices from "./prices.txt";

globalThis.tidegate = { config, prices };

export * from "./worker.js";
export { default } from "./worker.js";
