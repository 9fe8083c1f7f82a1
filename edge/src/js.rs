//! The few calls that cross to JavaScript, and what crosses with them. The other side is `runtime.js`.

use http::{HeaderMap, HeaderName, HeaderValue};
use js_sys::{Promise, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::{Request, Response};

use crate::drive::Drive;

/// What can come of [`Port::next`]; `runtime.js` has the same numbers.
pub(crate) mod told {
    pub(crate) const NOTHING: u8 = 0;
    pub(crate) const TIMEOUT: u8 = 1;
    pub(crate) const HEAD: u8 = 2;
    pub(crate) const PIECE: u8 = 3;
    pub(crate) const END: u8 = 4;
    pub(crate) const BROKEN: u8 = 5;
    /// What is known of the request that was to be stored.
    pub(crate) const STORED: u8 = 6;
    /// What comes of the attempt in a slot is so much higher for each slot before it.
    pub(crate) const PER_SLOT: u8 = 8;
}

/// What [`request_body`] resolves to when the body is too large.
pub(crate) const TOO_LARGE: f64 = 0.0;

/// What [`probe`] resolves to when there was no answer in time.
pub(crate) const TIMED_OUT: f64 = 0.0;

#[wasm_bindgen(module = "/src/runtime.js")]
extern "C" {
    #[wasm_bindgen]
    pub(crate) fn config() -> String;

    #[wasm_bindgen]
    pub(crate) fn prices() -> String;

    #[wasm_bindgen(js_name = readHeaders)]
    pub(crate) fn read_headers(of_requests: &str, of_responses: &str);

    #[wasm_bindgen(js_name = requestHead)]
    pub(crate) fn request_head(request: &Request) -> String;

    #[wasm_bindgen(js_name = requestBody)]
    pub(crate) fn request_body(request: &Request, bytes_max: f64, stall_ms: f64) -> Promise;

    #[wasm_bindgen(catch)]
    pub(crate) fn respond(status: u16, headers: &str, body: &[u8]) -> Result<Response, JsValue>;

    #[wasm_bindgen(js_name = askKeeper)]
    pub(crate) fn ask_keeper(namespace: &JsValue, region: &str, path: &str, told: Option<&str>) -> Promise;

    #[wasm_bindgen(js_name = askQueue)]
    pub(crate) fn ask_queue(namespace: &JsValue, path: &str, told: &[u8]) -> Promise;

    #[wasm_bindgen(catch, js_name = atOnce)]
    pub(crate) fn at_once(state: &JsValue, write: &mut dyn FnMut() -> Result<(), JsValue>) -> Result<(), JsValue>;

    #[wasm_bindgen]
    pub(crate) fn random() -> Vec<u8>;

    #[wasm_bindgen]
    pub(crate) fn probe(method: &str, url: &str, headers: &str, body: &[u8], limit_ms: f64, bytes_max: f64) -> Promise;

    /// One exchange's way to its vendors and to its client.
    #[derive(Clone)]
    pub(crate) type Port;

    #[wasm_bindgen(constructor)]
    pub(crate) fn new() -> Port;

    #[wasm_bindgen(method, js_name = carryOut)]
    pub(crate) fn carry_out(this: &Port, drive: Drive, request: &Request) -> Promise;

    #[wasm_bindgen(method)]
    pub(crate) fn run(this: &Port, drive: Drive) -> Promise;

    #[wasm_bindgen(method)]
    pub(crate) fn store(this: &Port, namespace: &JsValue, path: &str, told: &[u8]);

    #[wasm_bindgen(method)]
    pub(crate) fn stored(this: &Port) -> String;

    #[wasm_bindgen(method)]
    pub(crate) fn respond(this: &Port, status: u16, headers: &str, body: &[u8]);

    #[wasm_bindgen(method)]
    pub(crate) fn relay(this: &Port, status: u16, headers: &str);

    #[wasm_bindgen(method)]
    pub(crate) fn write(this: &Port, bytes: &[u8]);

    #[wasm_bindgen(method)]
    pub(crate) fn send(this: &Port, slot: u8, url: &str, headers: &str, body: &[u8]);

    #[wasm_bindgen(method)]
    pub(crate) fn cancel(this: &Port, slot: u8);

    #[wasm_bindgen(method)]
    pub(crate) fn head(this: &Port, slot: u8) -> String;

    #[wasm_bindgen(method)]
    pub(crate) fn piece(this: &Port, slot: u8) -> Vec<u8>;

    #[wasm_bindgen(method)]
    pub(crate) fn next(this: &Port, until: f64) -> u8;

    #[wasm_bindgen(method)]
    pub(crate) fn close(this: &Port);
}

/// Headers as they cross: a line for each name, and one for its value.
pub(crate) fn pack(headers: &HeaderMap) -> String {
    let mut lines = String::with_capacity(256);
    for (name, value) in headers {
        // A vendor may put anything into a header; JavaScript refuses what is not plain text.
        let Ok(value) = value.to_str() else { continue };
        for part in [name.as_str(), "\n", value, "\n"] {
            lines.push_str(part);
        }
    }
    lines
}

/// Headers as they came across: a line for each name, and one for its value.
pub(crate) fn unpack<'a>(mut lines: impl Iterator<Item = &'a str>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        // The names are the core's own; a value that no header can hold says nothing.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    headers
}

/// What an exception says, without its stack.
pub(crate) fn message(error: &JsValue) -> String {
    let message = Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string());
    message.unwrap_or_else(|| format!("{error:?}"))
}
