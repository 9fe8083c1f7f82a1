// What the worker does on JavaScript's side of the fence.
//
// Crossing between wasm and JavaScript is what costs, far more than what is done on either side. So each call does as much
// as it can: headers cross as one string, small bodies as one piece, and an exchange is carried on by the events
// themselves, without a promise for each of them. Nothing is decided here: limits and names come from the core.

/** What can come next; `js.rs` has the same numbers. */
const NOTHING = 0, TIMEOUT = 1, HEAD = 2, PIECE = 3, END = 4, BROKEN = 5, STORED = 6, PER_SLOT = 8;

/** What can come of reading a request's body, other than its bytes. */
const TOO_LARGE = 0, INCOMPLETE = 1;

/** A body announced to be no larger than this is read at one go, which is half the work. */
const AT_ONE_GO_BYTES = 64 * 1024;

let requestHeaders = [], responseHeaders = [];

/** The configuration, as JSON; `entry.js` has it from the build. */
export function config() {
  return globalThis.tidegate.config;
}

/** The file of prices that it names, likewise. */
export function prices() {
  return globalThis.tidegate.prices;
}

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
export function requestBody(request, bytesMax, stallMs) {
  return new Promise((resolve) => {
    const stalled = () => resolve(INCOMPLETE);
    let timer = setTimeout(stalled, stallMs);
    const settle = (outcome) => {
      clearTimeout(timer);
      resolve(outcome);
    };
    const progress = () => {
      clearTimeout(timer);
      timer = setTimeout(stalled, stallMs);
    };
    const { body, headers } = request;
    const read = body === null || isSmall(headers) ? request.arrayBuffer() : gather(body, bytesMax, progress);
    read.then(settle, () => settle(INCOMPLETE));
  });
}

/** A whole response. */
export function respond(status, headers, body) {
  return new Response(body.length === 0 ? null : body.slice(), { status, headers: unpack(headers) });
}

/** Tells the keeper of a region something, if there is anything to tell, and returns what it answers, both as JSON. */
export async function askKeeper(namespace, region, path, told) {
  const keeper = namespace.get(namespace.idFromName(region));
  const init = told === undefined ? undefined : { method: "POST", body: told };
  const response = await keeper.fetch(`https://keeper${path}`, init);
  return response.text();
}

/** Brings the queue something, and returns its response. */
export function askQueue(namespace, path, told) {
  const queue = namespace.get(namespace.idFromName("queue"));
  return queue.fetch(`https://queue${path}`, { method: "POST", body: told.slice() });
}

/** Has a Durable Object store all that `write` writes, or nothing if that fails. */
export function atOnce(state, write) {
  state.storage.transactionSync(write);
}

/** As many random bytes as the core asks for. */
export function random() {
  return crypto.getRandomValues(new Uint8Array(32));
}

/** What can come of a probe, other than its head and the beginning of its body. */
const TIMED_OUT = 0, NO_ANSWER = 1;

/** Makes a probe. */
export async function probe(method, url, headers, body, limitMs, bytesMax) {
  const init = { method, headers: unpack(headers), redirect: "manual", signal: AbortSignal.timeout(limitMs) };
  if (body.length > 0) init.body = body.slice();
  try {
    const response = await fetch(url, init);
    return [`${response.status}${pick(response.headers, responseHeaders)}`, await beginning(response.body, bytesMax)];
  } catch (error) {
    return error.name === "TimeoutError" ? TIMED_OUT : NO_ANSWER;
  }
}

/** The beginning of a body; what comes after it is not waited for. */
async function beginning(body, bytesMax) {
  const whole = new Uint8Array(bytesMax);
  let size = 0;
  const reader = body?.getReader();
  while (reader !== undefined && size < bytesMax) {
    const { done, value } = await reader.read();
    if (done) break;
    const piece = value.subarray(0, bytesMax - size);
    whole.set(piece, size);
    size += piece.byteLength;
  }
  reader?.cancel().catch(() => {});
  return whole.subarray(0, size);
}

/** One exchange's way to its vendors and to its client: an attempt or two, one timer, one answer. */
export class Port {
  /** The exchange itself; gone once it is over. */
  #drive;
  #answer;
  #fail;
  #controller;
  /** The attempts under way, by slot. */
  #attempts = [];
  /** Whether the time that is waited for has come. */
  #rang = false;
  /** Until when something is waited for; undefined if nothing is. */
  #until;
  #timer;
  #ringsAt;
  /** The id of what has been stored, nothing if it could not be; undefined until that is known. */
  #stored;

  /** Carries an exchange on until its client can be answered; what is left of a stream follows as the client reads it. */
  carryOut(drive, request) {
    request.signal.addEventListener("abort", () => this.#gone(), { once: true });
    return this.run(drive);
  }

  /** The same for an exchange that no client waits for. */
  run(drive) {
    return new Promise((resolve, reject) => {
      this.#drive = drive;
      this.#answer = resolve;
      this.#fail = reject;
      this.#step();
    });
  }

  /** Has the queue store a request. */
  store(namespace, path, told) {
    const settle = (id) => {
      this.#stored = id;
      this.#step();
    };
    const failed = (error) => {
      console.error(`the queue has not stored a request: ${error}`);
      settle("");
    };
    // In a function of its own, so that a queue that is not there fails like one that does not answer.
    const bring = async () => (await askQueue(namespace, path, told)).text();
    bring().then(settle, failed);
  }

  /** What became of it. */
  stored() {
    const id = this.#stored;
    this.#stored = undefined;
    return id;
  }

  respond(status, headers, body) {
    this.#answer(respond(status, headers, body));
  }

  relay(status, headers) {
    const source = {
      start: (controller) => {
        this.#controller = controller;
      },
      pull: () => this.#step(),
      cancel: () => this.#gone(),
    };
    const body = new ReadableStream(source, { highWaterMark: 0 });
    this.#answer(new Response(body, { status, headers: unpack(headers) }));
  }

  write(bytes) {
    this.#controller.enqueue(bytes.slice());
  }

  send(slot, url, headers, body) {
    const controller = new AbortController();
    const { signal } = controller;
    // `told` is what has come of it and has not been taken yet.
    const attempt = {
      slot, controller, response: undefined, reader: undefined, piece: undefined, told: NOTHING, reading: true, over: false,
    };
    this.#attempts[slot] = attempt;
    fetch(url, { method: "POST", headers: unpack(headers), body: body.slice(), redirect: "manual", signal }).then(
      (response) => {
        attempt.response = response;
        this.#tell(attempt, HEAD);
      },
      (error) => this.#broken(attempt, error),
    );
  }

  cancel(slot) {
    const attempt = this.#attempts[slot];
    this.#attempts[slot] = undefined;
    // Nothing is left to abort of what is over, and aborting costs.
    if (attempt?.over === false) attempt.controller.abort();
  }

  /** The status and the headers of the response that has come, a line each. */
  head(slot) {
    const { status, headers } = this.#attempts[slot].response;
    return `${status}${pick(headers, responseHeaders)}`;
  }

  /** The piece of the body that has come. */
  piece(slot) {
    return this.#attempts[slot].piece;
  }

  /**
   * What comes next: NOTHING yet, in which case the exchange is stepped when it comes, or TIMEOUT by `until`. What comes
   * of an attempt has PER_SLOT added for each slot before its own.
   */
  next(until) {
    this.#until = undefined;
    // The client has not taken what was written: a slow client slows the vendor down.
    if (this.#controller?.desiredSize < 0) return NOTHING;
    for (const attempt of this.#attempts) {
      if (attempt === undefined) continue;
      if (!attempt.reading && attempt.told === NOTHING) this.#read(attempt);
      const { told } = attempt;
      attempt.told = NOTHING;
      if (told !== NOTHING) return told + attempt.slot * PER_SLOT;
    }
    if (this.#stored !== undefined) return STORED;
    if (this.#rang) {
      this.#rang = false;
      return TIMEOUT;
    }
    this.#until = until;
    // The timer is set as seldom as can be: a stream moves its deadline with every piece, and most never come.
    if (this.#timer === undefined || until < this.#ringsAt) this.#setTimer(until);
    return NOTHING;
  }

  close() {
    for (const attempt of this.#attempts) if (attempt !== undefined) this.cancel(attempt.slot);
    clearTimeout(this.#timer);
  }

  #step() {
    let over;
    try {
      over = this.#drive === undefined || this.#drive.step();
    } catch (error) {
      // A bug, of which whoever waits must hear: it is over, and cannot even be freed.
      this.#drive = undefined;
      this.close();
      this.#controller?.error(error);
      this.#controller = undefined;
      this.#fail(error);
      throw error;
    }
    if (!over) return;
    this.#drive?.free();
    this.#drive = undefined;
    this.#controller?.close();
    this.#controller = undefined;
  }

  /** The client has gone away: nobody waits for any of it. */
  #gone() {
    this.#controller = undefined;
    const drive = this.#drive;
    this.#drive = undefined;
    if (drive === undefined) return;
    drive.free();
    this.#answer(new Response());
  }

  #read(attempt) {
    attempt.reading = true;
    const { response } = attempt;
    if (attempt.over || response.body === null) {
      attempt.told = END;
    } else if (attempt.reader === undefined && isSmall(response.headers) && !isPacked(response.headers)) {
      response.arrayBuffer().then(
        (body) => {
          attempt.over = true;
          attempt.piece = new Uint8Array(body);
          this.#tell(attempt, PIECE);
        },
        (error) => this.#broken(attempt, error),
      );
    } else {
      attempt.reader ??= response.body.getReader();
      attempt.reader.read().then(
        ({ done, value }) => {
          attempt.over = done;
          attempt.piece = value;
          this.#tell(attempt, done ? END : PIECE);
        },
        (error) => this.#broken(attempt, error),
      );
    }
  }

  #broken(attempt, error) {
    attempt.over = true;
    // The runtime words a refused connection, a reset and a body cut short alike, so that they cannot be told apart here.
    if (attempt === this.#attempts[attempt.slot]) console.debug(`an attempt failed: ${error}`);
    this.#tell(attempt, BROKEN);
  }

  #tell(attempt, event) {
    attempt.reading = false;
    if (attempt !== this.#attempts[attempt.slot]) return;
    attempt.told = event;
    this.#step();
  }

  #setTimer(at) {
    clearTimeout(this.#timer);
    this.#ringsAt = at;
    this.#timer = setTimeout(() => this.#ring(), Math.max(at - Date.now(), 1));
  }

  #ring() {
    this.#timer = undefined;
    if (this.#until === undefined) return;
    // It may have been set for an earlier deadline that has moved on since.
    if (Date.now() < this.#until) {
      this.#setTimer(this.#until);
    } else {
      this.#rang = true;
      this.#step();
    }
  }
}

/** Reads a body piece by piece, telling of each. */
async function gather(body, bytesMax, progress) {
  const reader = body.getReader();
  const pieces = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > bytesMax) {
      reader.cancel().catch(() => {});
      return TOO_LARGE;
    }
    pieces.push(value);
    progress();
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole.buffer;
}

function isSmall(headers) {
  const length = headers.get("content-length");
  return length !== null && Number(length) <= AT_ONE_GO_BYTES;
}

/** Whether a body is larger than it is announced to be. */
function isPacked(headers) {
  return headers.get("content-encoding") !== null;
}

function pick(headers, names) {
  let picked = "";
  for (const name of names) {
    const value = headers.get(name);
    if (value !== null && !isUndone(name, value)) picked += `\n${name}\n${value}`;
  }
  return picked;
}

/** Whether a header tells of a compression that the runtime has undone. */
function isUndone(name, value) {
  return name === "content-encoding" && (value === "gzip" || value === "br");
}

function unpack(lines) {
  const parts = lines.split("\n");
  const headers = [];
  for (let at = 0; at + 1 < parts.length; at += 2) headers.push([parts[at], parts[at + 1]]);
  return headers;
}
