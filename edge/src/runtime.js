// What the worker does on JavaScript's side of the fence.
//
// Crossing between wasm and JavaScript is what costs, far more than what is done on either side. So each call does as much
// as it can: headers cross as one string, an attempt with its timer is one object, and waiting for whatever comes
// next is one promise. Nothing is decided here: all limits and all names come from the core.

/** What can come of waiting; `js.rs` has the same numbers. */
const TIMEOUT = 0, HEAD = 1, PIECE = 2, END = 3, BROKEN = 4;

/** What can come of reading a request's body, other than its bytes. */
const TOO_LARGE = 0, INCOMPLETE = 1;

let requestHeaders = [], responseHeaders = [];

/** Sets which headers of requests and of vendors' responses the core reads. */
export function readHeaders(ofRequests, ofResponses) {
  requestHeaders = ofRequests.split("\n");
  responseHeaders = ofResponses.split("\n");
}

/** A request's method, its URL and its headers, a line each. */
export function requestHead(request) {
  return `${request.method}\n${request.url}${pick(request.headers, requestHeaders)}`;
}

/** Gathers a request's body, as long as it is not too large and keeps coming. */
export async function requestBody(request, bytesMax, stallMs) {
  if (request.body === null) return new Uint8Array();
  const reader = request.body.getReader();
  const pieces = [];
  let size = 0, stalled = false;
  const stall = () => {
    stalled = true;
    reader.cancel().catch(() => {});
  };
  let timer = setTimeout(stall, stallMs);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (stalled) return INCOMPLETE;
      if (done) return join(pieces, size);
      size += value.byteLength;
      if (size > bytesMax) {
        reader.cancel().catch(() => {});
        return TOO_LARGE;
      }
      pieces.push(value);
      clearTimeout(timer);
      timer = setTimeout(stall, stallMs);
    }
  } catch {
    return INCOMPLETE;
  } finally {
    clearTimeout(timer);
  }
}

/** Tells an exchange when its client has gone, where the runtime tells us. */
export function onGone(request, client) {
  request.signal.addEventListener("abort", () => client.gone(), { once: true });
}

/** A whole response. */
export function respond(status, headers, body) {
  return new Response(body.length === 0 ? null : body.slice(), { status, headers: unpack(headers) });
}

/** A streamed response: whoever reads it carries the exchange on. */
export function stream(status, headers, client) {
  const source = {
    async pull(controller) {
      const piece = await client.pull();
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
    cancel() {
      client.gone();
    },
  };
  return new Response(new ReadableStream(source, { highWaterMark: 0 }), { status, headers: unpack(headers) });
}

/** Tells the keeper of a region a report, if there is one, and returns its view, both as JSON. */
export async function askKeeper(namespace, region, report) {
  const keeper = namespace.get(namespace.idFromName(region));
  const init = report === undefined ? undefined : { method: "POST", body: report };
  const response = await keeper.fetch("https://keeper/", init);
  return response.text();
}

/** One exchange's way to its vendors: one attempt at a time, and one timer. */
export class Port {
  #attempt;
  /** What has come while nobody waited. */
  #told;
  #resolve;
  #until;
  #timer;
  #ringsAt;

  send(url, headers, body) {
    const controller = new AbortController();
    const attempt = { controller, head: undefined, piece: undefined, reader: undefined, reading: true };
    this.#attempt = attempt;
    this.#told = undefined;
    const { signal } = controller;
    fetch(url, { method: "POST", headers: unpack(headers), body: body.slice(), redirect: "manual", signal }).then(
      (response) => {
        attempt.reader = response.body?.getReader();
        attempt.head = `${response.status}${pick(response.headers, responseHeaders)}`;
        this.#tell(attempt, HEAD);
      },
      (error) => this.#fail(attempt, error),
    );
  }

  cancel() {
    this.#attempt?.controller.abort();
    this.#attempt = undefined;
    this.#told = undefined;
  }

  /** The status and the headers of the response that has come, a line each. */
  head() {
    return this.#attempt.head;
  }

  /** The piece of the body that has come. */
  piece() {
    return this.#attempt.piece;
  }

  /** What comes next, or TIMEOUT when `until` comes first. */
  wait(until) {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#until = until;
      const told = this.#told;
      if (told !== undefined) {
        this.#told = undefined;
        this.#settle(told);
        return;
      }
      // The timer is set as seldom as can be: a stream moves its deadline with every piece, and most never come.
      if (this.#timer === undefined || until < this.#ringsAt) this.#setTimer(until);
      if (this.#attempt && !this.#attempt.reading) this.#read(this.#attempt);
    });
  }

  close() {
    this.cancel();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#settle(TIMEOUT);
  }

  #read(attempt) {
    if (attempt.reader === undefined) {
      this.#tell(attempt, END);
      return;
    }
    attempt.reading = true;
    attempt.reader.read().then(
      ({ done, value }) => {
        attempt.piece = value;
        this.#tell(attempt, done ? END : PIECE);
      },
      (error) => this.#fail(attempt, error),
    );
  }

  #fail(attempt, error) {
    // The runtime words a refused connection, a reset and a body cut short alike, so that they cannot be told apart here.
    if (attempt === this.#attempt) console.debug(`an attempt failed: ${error}`);
    this.#tell(attempt, BROKEN);
  }

  #tell(attempt, event) {
    attempt.reading = false;
    if (attempt !== this.#attempt) return;
    if (this.#resolve === undefined) this.#told = event;
    else this.#settle(event);
  }

  #settle(event) {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    resolve?.(event);
  }

  #setTimer(at) {
    clearTimeout(this.#timer);
    this.#ringsAt = at;
    this.#timer = setTimeout(() => this.#ring(), Math.max(at - Date.now(), 1));
  }

  #ring() {
    this.#timer = undefined;
    if (this.#resolve === undefined) return;
    // It may have been set for an earlier deadline that has moved on since.
    if (Date.now() < this.#until) this.#setTimer(this.#until);
    else this.#settle(TIMEOUT);
  }
}

function pick(headers, names) {
  let picked = "";
  for (const name of names) {
    const value = headers.get(name);
    if (value !== null) picked += `\n${name}\n${value}`;
  }
  return picked;
}

function unpack(lines) {
  const parts = lines.split("\n");
  const headers = [];
  for (let at = 0; at + 1 < parts.length; at += 2) headers.push([parts[at], parts[at + 1]]);
  return headers;
}

function join(pieces, size) {
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}
