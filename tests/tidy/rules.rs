//! The rules. Each has violations to be planted, so that it is known to fail, and code that it must let pass.

use crate::source::{Line, Source};

/// Something that must hold for the source.
pub(crate) struct Rule {
    /// What must not be, and what to do instead.
    pub(crate) remedy: &'static str,
    /// Which files it is about.
    pub(crate) about: fn(&Source) -> bool,
    /// Where it does not hold: lines, and what is wrong there.
    pub(crate) find: fn(&Source) -> Vec<(usize, String)>,
    /// A file, and code in it that must be found.
    pub(crate) planted: &'static [(&'static str, &'static str)],
    /// A file, and code in it that must not be found.
    pub(crate) spared: &'static [(&'static str, &'static str)],
}

const NATIVE: &str = "native/src/port.rs";
const EDGE: &str = "edge/src/port.rs";

/// Where adapters may say vendors' words, and why.
const SPEAKING: [(&str, &str); 2] = [
    (
        "native/src/setup.rs",
        "writes the config of whose keys are in the environment; what is done with it core decides",
    ),
    ("native/src/command.rs", "prints how to call this gateway from the official SDK"),
];

pub(crate) const NO_STATUS: Rule = Rule {
    remedy: "an adapter compares no status and makes none up: core lacks an action, or an answer",
    about: is_adapter,
    find: |source| {
        in_code(source, |line| {
            let named = ["is_success()", "is_client_error()", "is_server_error()", "error_for_status", ".ok)"];
            let named = named.into_iter().find(|name| line.code.contains(name)).map(str::to_owned);
            let constant =
                after(&line.code, "StatusCode::").find(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()));
            named
                .or_else(|| constant.map(|rest| format!("StatusCode::{}", word(rest))))
                .or_else(|| status_number(&line.code))
        })
    },
    planted: &[
        (NATIVE, "if response.status() == 429 { retry(); }"),
        (NATIVE, "match code { 500..=599 => again(), _ => done() }"),
        (NATIVE, "    502 | 503 => {}"),
        (NATIVE, "let reply = StatusCode::BAD_GATEWAY;"),
        (NATIVE, "if status.is_success() {}"),
        (EDGE, "let response = Response::error(message, 500).with_status(404);"),
        ("edge/src/runtime.js", "if (response.status >= 500) return again();"),
        ("edge/src/runtime.js", "if (!response.ok) throw response;"),
    ],
    spared: &[
        (NATIVE, "// a 429 is core's to judge\nlet text = \"503\"; StatusCode::from_u16(n)\nlet port = 127;"),
        (NATIVE, "let lines = String::with_capacity(256);"),
        ("native/src/sandbox/fault.rs", "StatusCode::BAD_REQUEST"),
        (NATIVE, "#[cfg(test)]\nmod tests {\n    fn a() { assert_eq!(status, 503); }\n}"),
    ],
};

pub(crate) const NO_DURATION: Rule = Rule {
    remedy: "an adapter waits for as long as core or the config says: name the length there",
    about: is_adapter,
    find: |source| {
        const MAKERS: [&str; 10] = [
            "from_secs(",
            "from_millis(",
            "from_micros(",
            "from_nanos(",
            "from_mins(",
            "from_hours(",
            "from_secs_f64(",
            "Millis(",
            "sleep(",
            "Timestamp(",
        ];
        in_code(source, |line| {
            let literal = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
            let made = MAKERS.into_iter().find(|maker| after(&line.code, maker).any(literal)).map(str::to_owned);
            let timer = after(&line.code, "setTimeout(").any(|rest| literal(last_argument(rest)));
            made.or_else(|| timer.then(|| "setTimeout".to_owned()))
        })
    },
    planted: &[
        (NATIVE, "tokio::time::sleep(Duration::from_millis(100)).await;"),
        (NATIVE, "const PAUSE: Duration = Duration::from_secs(5);"),
        (NATIVE, "let until = now + Millis(250);"),
        (EDGE, "Delay::from(Duration::from_secs_f64(0.5)).await;"),
        ("edge/src/runtime.js", "setTimeout(resolve, 5000);"),
    ],
    spared: &[
        (NATIVE, "tokio::time::sleep(Duration::from_millis(limits.drain.0)).await"),
        ("native/src/sandbox/serve.rs", "sleep(Duration::from_millis(10))"),
        ("edge/src/runtime.js", "setTimeout(() => ring(1), Math.max(until - Date.now(), 1));"),
    ],
};

pub(crate) const NO_NAMES: Rule = Rule {
    remedy: "an adapter knows no vendor and no model: those are the config's and core's dialects'",
    about: may_not_speak,
    find: |source| {
        const NAMES: [&str; 10] =
            ["openai", "anthropic", "claude", "gemini", "gpt-", "gpt_", "deepseek", "mistral", "groq", "llama"];
        in_code(source, |line| {
            let texts = line.strings.iter().chain([&line.code]).map(|text| text.to_ascii_lowercase());
            texts.into_iter().find_map(|text| NAMES.into_iter().find(|name| text.contains(name)).map(str::to_owned))
        })
    },
    planted: &[
        (NATIVE, "if model.starts_with(\"gpt-4\") {}"),
        (NATIVE, "if vendor.dialect == Dialect::OpenAi {}"),
        (EDGE, "let url = \"https://api.anthropic.com\";"),
        ("edge/src/runtime.js", "const slow = `deepseek`;"),
    ],
    spared: &[(NATIVE, "/// As OpenAI does.\nfn a() {}"), ("native/src/setup.rs", "variable: \"OPENAI_API_KEY\",")],
};

pub(crate) const NO_RETRY_WORDS: Rule = Rule {
    remedy: "what a vendor's words mean is for `classify.rs` and the dialects in core",
    about: may_not_speak,
    find: |source| {
        const WORDS: [&str; 16] = [
            "retry-after",
            "should-retry",
            "rate_limit",
            "ratelimit",
            "insufficient_quota",
            "context_length",
            "content_filter",
            "overloaded",
            "invalid_api_key",
            "finish_reason",
            "include_usage",
            "[done]",
            "x-tidegate",
            "authorization",
            "bearer ",
            "event-stream",
        ];
        in_code(source, |line| {
            let texts = line.strings.iter().map(|text| text.to_ascii_lowercase());
            texts.into_iter().find_map(|text| WORDS.into_iter().find(|word| text.contains(word)).map(str::to_owned))
        })
    },
    planted: &[
        (NATIVE, "let wait = headers.get(\"Retry-After\");"),
        (NATIVE, "if body.contains(\"insufficient_quota\") {}"),
        (EDGE, "if chunk == b\"data: [DONE]\" {}"),
        ("edge/src/runtime.js", "const usage = `\"include_usage\"`;"),
    ],
    spared: &[(NATIVE, "// core reads \"retry-after\"\nlet kind = \"content-length\";")],
};

pub(crate) const CORE_IS_PURE: Rule = Rule {
    remedy: "core does no I/O and knows no platform: pass it in (core/clippy.toml bans the calls, this bans the ways round)",
    about: |source| source.path.starts_with("core/src/") && source.is_rust(),
    find: |source| {
        const BANNED: [&str; 24] = [
            "std::fs",
            "std::env",
            "std::thread",
            "std::process",
            "std::os",
            "std::time::Instant",
            "std::time::SystemTime",
            "std::sync::Mutex",
            "net::TcpStream",
            "net::TcpListener",
            "net::UdpSocket",
            "tokio::",
            "reqwest::",
            "hyper::",
            "worker::",
            "js_sys::",
            "wasm_bindgen::",
            "web_sys::",
            "getrandom",
            "rand::rng",
            "println!",
            "static mut",
            "include_bytes!",
            "thread_local!",
        ];
        in_code(source, |line| BANNED.into_iter().find(|banned| line.code.contains(banned)).map(str::to_owned))
    },
    planted: &[
        ("core/src/gateway.rs", "let now = std::time::Instant::now();"),
        ("core/src/config.rs", "use std::env;"),
        ("core/src/rng.rs", "getrandom::fill(&mut seed);"),
        ("core/src/notice.rs", "println!(\"{notice}\");"),
    ],
    spared: &[
        ("core/src/api.rs", "use std::net::IpAddr;"),
        ("core/src/gateway.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}"),
        (NATIVE, "use std::fs;"),
    ],
};

pub(crate) const MODULES_SAY_WHY: Rule = Rule {
    remedy: "a file begins with `//!`: what it is for, and why it is as it is",
    about: Source::is_rust,
    find: |source| {
        let says = source.text.starts_with("//! ");
        if says { Vec::new() } else { vec![(1, "no module docs".to_owned())] }
    },
    planted: &[("core/src/new.rs", "use std::fmt;\n\n//! Late.\n"), ("tests/new.rs", "// Not docs.\n")],
    spared: &[("core/src/new.rs", "//! Says why.\n")],
};

pub(crate) const FILES_ARE_SHORT: Rule = Rule {
    remedy: "one subject per file: at most 500 lines before its tests",
    about: Source::is_rust,
    find: |source| {
        const LINES_MAX: usize = 500;
        let lines = if source.code_lines == 0 { source.lines.len() } else { source.code_lines };
        // A file of tests alone may be longer, as a table is.
        let is_long = lines > if source.code_lines == 0 { 2 * LINES_MAX } else { LINES_MAX };
        if is_long { vec![(lines, format!("{lines} lines"))] } else { Vec::new() }
    },
    planted: &[("core/src/long.rs", LONG_FILE)],
    spared: &[("core/src/short.rs", "fn a() {}\n")],
};

pub(crate) const FUNCTIONS_ARE_SHORT: Rule = Rule {
    remedy: "at most 80 lines: name a part of it",
    about: Source::is_rust,
    find: |source| {
        const LINES_MAX: usize = 80;
        let long = functions(source).into_iter().filter(|(start, end, _)| end - start >= LINES_MAX);
        long.map(|(start, end, name)| (start, format!("`{name}` has {} lines", end - start + 1))).collect()
    },
    planted: &[("core/src/long.rs", LONG_FUNCTION)],
    spared: &[("core/src/short.rs", "fn a() {\n    b(\"}\");\n}\nfn c() { '{'; }\n")],
};

pub(crate) const NOTHING_IS_PUT_OFF: Rule = Rule {
    remedy: "finish it or leave it out; a lint that does not fit is `#[expect(.., reason = \"..\")]`",
    about: Source::is_rust,
    find: |source| {
        const SIGNS: [&str; 7] =
            ["todo!(", "unimplemented!(", "#[ignore", "[allow(", "dbg!(", "with_ignored_flag(true", "should_panic]"];
        in_lines(source.all(), |line| SIGNS.into_iter().find(|sign| line.code.contains(sign)).map(str::to_owned))
    },
    planted: &[
        (NATIVE, "fn a() { todo!() }"),
        (NATIVE, "#[allow(dead_code)]"),
        (NATIVE, "#![allow(clippy::pedantic)]"),
        ("tests/native/new.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}"),
    ],
    spared: &[
        (NATIVE, "// todo!() would be found\n#[expect(dead_code, reason = \"read in tests\")]"),
        (
            "edge/src/lib.rs",
            "#![cfg_attr(test, allow(clippy::unwrap_used, reason = \"a test that fails says where\"))]",
        ),
    ],
};

pub(crate) const TESTS_DO_NOT_SLEEP: Rule = Rule {
    remedy: "wait for what you wait for (tests/src/wait.rs), or pass the time in",
    about: Source::is_rust,
    find: |source| {
        in_lines(source.tests(), |line| {
            let sleeps = after(&line.code, "sleep(").next().is_some() || line.code.contains("sleep_until(");
            sleeps.then(|| "sleep".to_owned())
        })
    },
    planted: &[
        ("tests/native/new.rs", "tokio::time::sleep(Duration::from_secs(1)).await;"),
        ("core/src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { std::thread::sleep(PAUSE); }\n}"),
    ],
    spared: &[("native/src/server.rs", "tokio::time::sleep(drain).await;"), ("tests/native/new.rs", "// sleep(1)")],
};

pub(crate) const NO_PLACE_OF_ONES_OWN: Rule = Rule {
    remedy: "a path of one machine works on no other: make it relative, or ask the system",
    about: |_| true,
    find: |source| {
        // Put together here, so that this file does not hold them.
        let mut places: Vec<String> = ["root", "home", "Users"].iter().map(|name| format!("/{name}/")).collect();
        let clone = tidegate_tests::world::root();
        places.extend([Some(clone), std::env::home_dir()].into_iter().flatten().filter_map(|path| {
            let path = path.to_str()?.to_owned();
            (path.matches('/').count() > 1).then_some(path)
        }));
        let mut found = Vec::new();
        for (at, line) in source.text.lines().enumerate() {
            // A URL's path is no place on a disk.
            let is_place = |place: &&String| {
                line.match_indices(place.as_str())
                    .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "-_.}".contains(c)))
            };
            found.extend(places.iter().find(is_place).map(|place| (at + 1, place.clone())));
        }
        found
    },
    planted: &[
        ("README.md", concat!("Run /ho", "me/ann/tidegate/run.sh")),
        ("wrangler.toml", concat!("main = \"/Us", "ers/ann/index.js\"")),
        ("xtask/src/edge.rs", concat!("Path::new(\"/ro", "ot/.cache\")")),
    ],
    spared: &[("README.md", "See https://example.com/home/page and ~/.cache."), ("core/src/a.rs", "a/root/b")],
};

/// The adapters' own code: the sandbox is a vendor, and no part of the gateway.
fn is_adapter(source: &Source) -> bool {
    let is_adapter = source.path.starts_with("native/src/") || source.path.starts_with("edge/src/");
    is_adapter && !source.path.starts_with("native/src/sandbox")
}

fn may_not_speak(source: &Source) -> bool {
    is_adapter(source) && SPEAKING.iter().all(|(path, _)| *path != source.path)
}

fn in_code(source: &Source, find: impl Fn(&Line) -> Option<String>) -> Vec<(usize, String)> {
    in_lines(source.code(), find)
}

fn in_lines<'s>(
    lines: impl Iterator<Item = (usize, &'s Line)>,
    find: impl Fn(&Line) -> Option<String>,
) -> Vec<(usize, String)> {
    lines.filter_map(|(at, line)| find(line).map(|what| (at, what))).collect()
}

/// What follows each `name` that stands as a word of its own.
fn after<'l>(line: &'l str, name: &'l str) -> impl Iterator<Item = &'l str> {
    let places =
        line.match_indices(name).filter(|(at, _)| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
    places.map(|(at, name)| &line[at + name.len()..])
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The last argument of a call, given what follows its opening parenthesis.
fn last_argument(text: &str) -> &str {
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return text[start..at].trim(),
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => start = at + 1,
            _ => {}
        }
    }
    text[start..].trim()
}

/// A number from 100 to 599 that is matched, or stands where there is talk of a status.
fn status_number(code: &str) -> Option<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    let of_a_status = code.to_ascii_lowercase().contains("status");
    let mut start = 0;
    for token in code.split(|c: char| !is_word(c)) {
        let at = start;
        start += token.len() + code[start + token.len()..].chars().next().map_or(0, char::len_utf8);
        let number = token.split("..").next().and_then(|first| first.parse::<u16>().ok());
        if number.is_none_or(|number| !(100..=599).contains(&number)) {
            continue;
        }
        let (before, behind) = (code[..at].trim_end(), code[at + token.len()..].trim_start());
        let compared = ["==", "!=", "<", ">", "<=", ">=", "|"].iter().any(|sign| before.ends_with(sign));
        let matched = token.contains("..") || ["=>", "|", "=="].iter().any(|sign| behind.starts_with(sign));
        if compared || matched || of_a_status {
            return Some(token.to_owned());
        }
    }
    None
}

/// First line, last line and name of each function.
fn functions(source: &Source) -> Vec<(usize, usize, String)> {
    let mut open: Vec<(usize, usize, String)> = Vec::new();
    let mut awaited: Option<(usize, String)> = None;
    let (mut depth, mut found) = (0_usize, Vec::new());
    for (at, line) in source.all() {
        if let Some(rest) = after(&line.code, "fn ").next().filter(|rest| rest.starts_with(char::is_alphabetic)) {
            awaited = Some((at, word(rest).to_owned()));
        }
        let code = line.code.replace("'{'", "").replace("'}'", "");
        for c in code.chars() {
            match c {
                '{' => {
                    depth += 1;
                    open.extend(awaited.take().map(|(start, name)| (depth, start, name)));
                }
                '}' => {
                    while let Some((_, start, name)) = open.pop_if(|(opened_at, ..)| *opened_at == depth) {
                        found.push((start, at, name));
                    }
                    depth = depth.saturating_sub(1);
                }
                ';' => awaited = None,
                _ => {}
            }
        }
    }
    found
}

/// 501 lines.
const LONG_FILE: &str = {
    const LINES: [u8; 2 * 501] = {
        let mut lines = [b'\n'; 2 * 501];
        let mut at = 0;
        while at < lines.len() {
            lines[at] = b';';
            at += 2;
        }
        lines
    };
    match std::str::from_utf8(&LINES) {
        Ok(text) => text,
        Err(_) => panic!("it is ASCII"),
    }
};

/// A function of 81 lines.
const LONG_FUNCTION: &str = concat!(
    "fn long() {\n",
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
    "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n",
    "}\n",
);
