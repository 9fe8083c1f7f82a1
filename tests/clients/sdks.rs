//! The clients, and what each of them tells.

/// In what a vendor behind the gateway may be spoken to.
pub(crate) const DIALECTS: [&str; 3] = ["openai", "anthropic", "gemini"];

/// A client.
pub(crate) struct Sdk {
    pub(crate) name: &'static str,
    /// The variable in which `cargo xtask test` says where its interpreter is.
    pub(crate) interpreter: &'static str,
    pub(crate) script: &'static str,
    /// What the script is told beside the usual.
    pub(crate) arguments: &'static [&'static str],
    /// Cases that it tells of vendors of each dialect, apart from those that all clients tell.
    each: &'static [&'static str],
    /// Cases that it tells once, by their full names.
    once: &'static [&'static str],
}

/// What every client tells of vendors of each dialect.
const EVERYONE: [&str; 12] = [
    "all_down",
    "cancel",
    "conversation",
    "cut_stream",
    "error_in_stream",
    "image",
    "json_schema",
    "parallel_tools",
    "plain",
    "refused",
    "stream",
    "tools",
];

pub(crate) const SDKS: [Sdk; 8] = [
    Sdk {
        name: "openai_python",
        interpreter: PYTHON,
        script: "python/client_openai.py",
        arguments: &[],
        each: &[
            "completions",
            "completions_stream",
            "json_schema_helper",
            "responses",
            "responses_cut_stream",
            "responses_image",
            "responses_json_schema",
            "responses_refused",
            "responses_stream",
            "responses_tool_stream",
            "responses_tools",
            "stream_with_usage",
            "tool_stream",
            "tool_stream_helper",
        ],
        once: &OPENAI_ONCE,
    },
    Sdk {
        name: "openai_node",
        interpreter: NODE,
        script: "node/client_openai.mjs",
        arguments: &[],
        each: &[
            "abort",
            "completions",
            "completions_stream",
            "responses",
            "responses_cut_stream",
            "responses_image",
            "responses_json_schema",
            "responses_refused",
            "responses_stream",
            "responses_tool_stream",
            "responses_tools",
            "stream_with_usage",
            "tool_stream",
            "tool_stream_helper",
        ],
        once: &OPENAI_ONCE,
    },
    Sdk {
        name: "anthropic_python",
        interpreter: PYTHON,
        script: "python/client_anthropic.py",
        arguments: &[],
        each: &["json_schema_helper", "stream_helper", "tool_stream", "tool_stream_helper"],
        once: &ANTHROPIC_ONCE,
    },
    Sdk {
        name: "anthropic_node",
        interpreter: NODE,
        script: "node/client_anthropic.mjs",
        arguments: &[],
        each: &["abort", "stream_helper", "tool_stream", "tool_stream_helper"],
        once: &ANTHROPIC_ONCE,
    },
    Sdk {
        name: "langchain",
        interpreter: PYTHON,
        script: "python/client_langchain.py",
        arguments: &[],
        each: &["json_schema_by_tool", "responses", "tool_stream"],
        once: &["batch", "unknown_model"],
    },
    ai_sdk("ai_sdk_openai", &["--provider", "openai"]),
    ai_sdk("ai_sdk_compatible", &["--provider", "openai-compatible"]),
    ai_sdk("ai_sdk_anthropic", &["--provider", "anthropic"]),
];

const PYTHON: &str = "TIDEGATE_PYTHON";
const NODE: &str = "TIDEGATE_NODE";

const OPENAI_ONCE: [&str; 11] = [
    "bad_key",
    "bad_request",
    "gemini::embeddings",
    "headers",
    "many_at_once",
    "models_list",
    "models_retrieve",
    "openai::embeddings",
    "request_id",
    "state_is_refused",
    "unknown_model",
];

const ANTHROPIC_ONCE: [&str; 14] = [
    "anthropic::count_tokens",
    "anthropic::thinking",
    "anthropic::thinking_stream",
    "bad_key",
    "bad_request",
    "bearer_token",
    "gemini::count_tokens",
    "gemini::thinking",
    "gemini::thinking_stream",
    "many_at_once",
    "openai::count_tokens_is_estimated",
    "openai::thinking_is_no_obstacle",
    "request_id",
    "unknown_model",
];

/// One of the Vercel AI SDK's packages; they share a script.
const fn ai_sdk(name: &'static str, arguments: &'static [&'static str]) -> Sdk {
    Sdk {
        name,
        interpreter: NODE,
        script: "node/client_ai_sdk.mjs",
        arguments,
        each: &["json_schema_stream", "tool_stream"],
        once: &["many_at_once", "unknown_model"],
    }
}

impl Sdk {
    /// The full names of all its cases.
    pub(crate) fn cases(&self) -> Vec<String> {
        let each = EVERYONE.iter().chain(self.each);
        let of_vendors = each.flat_map(|case| DIALECTS.map(|dialect| format!("{dialect}::{case}")));
        of_vendors.chain(self.once.iter().map(|case| (*case).to_owned())).collect()
    }
}
