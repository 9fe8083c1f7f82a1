//! Hints in the body.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

use super::{Hints, MaxPrice, Sort, parameters_named, priority_named, priority_numbered, usd};
use crate::config::{Parameters, decimal};
use crate::dialect::chat::Json;
use crate::dialect::fields::unreadable;
use crate::dialect::{BadRequest, Controls};
use crate::price::Picodollars;
use crate::time::Millis;

/// Our own: `tidegate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    fallbacks: Option<Vec<String>>,
    disable_fallbacks: Option<bool>,
    order: Option<Vec<String>>,
    only: Option<Vec<String>>,
    ignore: Option<Vec<String>>,
    sort: Option<String>,
    max_price: Option<Prices>,
    max_cost: Option<Value>,
    max_latency_ms: Option<u64>,
    timeout_ms: Option<u64>,
    ttft_timeout_ms: Option<u64>,
    max_attempts: Option<u32>,
    parameters: Option<String>,
    priority: Option<Value>,
    task: Option<String>,
    tags: Option<Vec<String>>,
}

/// `OpenRouter`'s `provider`.
#[derive(Deserialize)]
struct Provider {
    order: Option<Vec<String>>,
    only: Option<Vec<String>>,
    ignore: Option<Vec<String>>,
    allow_fallbacks: Option<bool>,
    require_parameters: Option<bool>,
    sort: Option<Value>,
    max_price: Option<Prices>,
    data_collection: Option<String>,
    zdr: Option<bool>,
    quantizations: Option<Vec<String>>,
}

/// USD per million tokens, as `OpenRouter` has it: numbers, or numbers in strings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    prompt: Option<Value>,
    completion: Option<Value>,
}

/// `OpenRouter`'s `usage`.
#[derive(Deserialize)]
struct Accounting {
    include: Option<bool>,
}

impl Hints {
    pub(super) fn read_controls(&mut self, controls: &Controls) -> Result<(), BadRequest> {
        for (name, value) in controls {
            match *name {
                "models" => self.add_fallbacks(read(name, value)?),
                "fallbacks" => self.add_fallbacks(fallbacks(value)?),
                "disable_fallbacks" => self.no_fallbacks |= read::<bool>(name, value)?,
                "provider" => self.read_provider(read(name, value)?)?,
                "route" => match read::<String>(name, value)?.as_str() {
                    "fallback" => {}
                    _ => return Err(wrong("route", "`route` must be \"fallback\"; a route's name goes into `model`.")),
                },
                "usage" => self.wants_usage |= read::<Accounting>(name, value)?.include.unwrap_or(false),
                _ => {}
            }
        }
        match controls.iter().find(|(name, _)| *name == "tidegate") {
            Some((name, value)) => self.read_own(read(name, value)?),
            None => Ok(()),
        }
    }

    fn add_fallbacks(&mut self, models: Vec<String>) {
        self.fallbacks.extend(models);
    }

    fn read_provider(&mut self, provider: Provider) -> Result<(), BadRequest> {
        let Provider { order, only, ignore, max_price, .. } = provider;
        // An app that keeps its data from some vendors must not find out later that nobody looked.
        let promises_more = provider.zdr == Some(true)
            || provider.data_collection.is_some_and(|policy| policy != "allow")
            || provider.quantizations.is_some_and(|list| !list.is_empty());
        if promises_more {
            return Err(wrong(
                "provider",
                "This gateway knows nothing of its vendors' data policies or quantizations: name the vendors that you \
                 trust in `provider.only`.",
            ));
        }
        self.order = order.unwrap_or_else(|| std::mem::take(&mut self.order));
        self.only = only.or(self.only.take());
        self.ignore = ignore.unwrap_or_else(|| std::mem::take(&mut self.ignore));
        self.no_fallbacks |= provider.allow_fallbacks == Some(false);
        if provider.require_parameters == Some(true) {
            self.parameters = Some(Parameters::Strict);
        }
        let sort = match &provider.sort {
            Some(Value::String(name)) => Some(name.as_str()),
            Some(other) => Some(other["by"].as_str().unwrap_or("")),
            None => None,
        };
        if let Some(name) = sort {
            self.sort = Some(sort_named("provider", name)?);
        }
        self.cap_price("provider", max_price)
    }

    fn read_own(&mut self, own: Own) -> Result<(), BadRequest> {
        self.fallbacks = own.fallbacks.unwrap_or_else(|| std::mem::take(&mut self.fallbacks));
        self.no_fallbacks = own.disable_fallbacks.unwrap_or(self.no_fallbacks);
        self.order = own.order.unwrap_or_else(|| std::mem::take(&mut self.order));
        self.only = own.only.or(self.only.take());
        self.ignore = own.ignore.unwrap_or_else(|| std::mem::take(&mut self.ignore));
        if let Some(name) = own.sort {
            self.sort = Some(sort_named("tidegate", &name)?);
        }
        if let Some(name) = own.parameters {
            let message = "`tidegate.parameters` must be strict or lenient.";
            self.parameters = Some(parameters_named(&name).ok_or_else(|| wrong("tidegate", message))?);
        }
        if let Some(priority) = own.priority {
            let read = match &priority {
                Value::String(text) => priority_named(text),
                number => number.as_u64().and_then(priority_numbered),
            };
            let message = "`tidegate.priority` must be a number from 1 to 5, or fast, normal or high.";
            (self.priority, self.column) = Some(read.ok_or_else(|| wrong("tidegate", message))?).unzip();
        }
        self.task = own.task.or(self.task.take());
        self.tags = own.tags.unwrap_or_else(|| std::mem::take(&mut self.tags));
        if let Some(most) = own.max_cost {
            let message = "`tidegate.max_cost` must be an amount in USD.";
            self.max_cost = Some(number(&most).and_then(|text| usd(&text)).ok_or_else(|| wrong("tidegate", message))?);
        }
        self.max_latency = own.max_latency_ms.map(Millis).or(self.max_latency);
        self.timeout = own.timeout_ms.map(Millis).or(self.timeout);
        self.first_token = own.ttft_timeout_ms.map(Millis).or(self.first_token);
        self.attempts = own.max_attempts.or(self.attempts);
        self.cap_price("tidegate", own.max_price)
    }

    fn cap_price(&mut self, param: &'static str, prices: Option<Prices>) -> Result<(), BadRequest> {
        let Some(Prices { prompt, completion }) = prices else { return Ok(()) };
        let read = |price: Option<Value>| match price {
            None => Ok(None),
            Some(price) => {
                let message =
                    format!("`{param}.max_price` takes `prompt` and `completion`, in USD per million tokens.");
                per_token(&price).map(Some).ok_or(BadRequest { message, param: Some(param) })
            }
        };
        self.max_price = MaxPrice { input: read(prompt)?, output: read(completion)? };
        Ok(())
    }
}

fn sort_named(param: &'static str, name: &str) -> Result<Sort, BadRequest> {
    let message = format!("`{param}.sort` must be price, latency or throughput.");
    Sort::named(name).ok_or(BadRequest { message, param: Some(param) })
}

/// `LiteLLM`'s `fallbacks` are names or objects, Anthropic's are objects. What an object says beside the model's name would
/// make another request of it, which the gateway does not.
fn fallbacks(value: &Json) -> Result<Vec<String>, BadRequest> {
    let items: Vec<Value> = read("fallbacks", value)?;
    let name = |item: Value| match item {
        Value::String(name) => Ok(name),
        Value::Object(fields) => match (fields.get("model"), fields.len()) {
            (Some(Value::String(name)), 1) => Ok(name.clone()),
            _ => Err(wrong("fallbacks", "An object in `fallbacks` takes a `model` and nothing else here.")),
        },
        _ => Err(wrong("fallbacks", "`fallbacks` must be a list of models.")),
    };
    items.into_iter().map(name).collect()
}

fn read<T: DeserializeOwned>(name: &'static str, value: &Json) -> Result<T, BadRequest> {
    serde_json::from_str(value.text()).map_err(|error| unreadable(name, &error))
}

fn wrong(param: &'static str, message: &str) -> BadRequest {
    BadRequest { message: message.to_owned(), param: Some(param) }
}

/// A millionth of a dollar per million tokens is one picodollar per token.
fn per_token(price: &Value) -> Option<Picodollars> {
    decimal(&number(price)?, 6).ok().map(Picodollars)
}

/// A number, or a number in a string.
fn number(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(Number::to_string(number)),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}
