//! What was decided, looked at afterwards: one request of a running gateway or its queue, or all that a file has recorded.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidegate_core::config::{Config, assumed_secret};
use tidegate_core::operator::{ADMIN_KEY, refusal, shown};
use tidegate_core::queue::Overview;
use tidegate_core::record::{Account, Recording, fingerprint};
use tidegate_core::reply::REQUEST_ID;
use tidegate_core::sim::replay;
use tidegate_core::waits::COMMAND_WAIT;

use crate::cli::QueueTerms;
use crate::setup::{self, text_of};

/// Asks a gateway for the record of a request, and puts it in words, or in JSON.
pub(crate) async fn explain(id: &str, url: &str, as_json: bool) -> Result<String, String> {
    let (told, account): (_, Account) = ask_for(url, &["admin", "requests", id], "").await?;
    Ok(if as_json { format!("{told:#}\n") } else { account.to_string() })
}

/// Asks a gateway how its queue stands, and puts that in words, or in JSON.
pub(crate) async fn queue(terms: &QueueTerms) -> Result<String, String> {
    let QueueTerms { status, client, model, limit, before, .. } = terms;
    let named = [("status", status), ("client", client), ("model", model), ("limit", limit), ("before", before)];
    let query = query_of(&named.map(|(name, value)| (name, value.as_deref())));
    let (told, overview): (_, Overview) = ask_for(&terms.url, &["admin", "queue"], &query).await?;
    Ok(if terms.json { format!("{told:#}\n") } else { overview.to_string() })
}

/// What a gateway tells, as it is and as we understand it.
async fn ask_for<T: DeserializeOwned>(url: &str, path: &[&str], query: &str) -> Result<(Value, T), String> {
    let body = ask_gateway(url, path, query).await?;
    let unknown = |error| format!("{url} answers in a form that this version does not know: {error}");
    let told: Value = serde_json::from_slice(&body).map_err(unknown)?;
    let understood = T::deserialize(&told).map_err(unknown)?;
    Ok((told, understood))
}

/// What is asked for, as the query of a URL.
pub(crate) fn query_of(pairs: &[(&str, Option<&str>)]) -> String {
    // The rules for what has to be escaped are the URL's; the rest of it is thrown away.
    let mut url = Url::parse("http://127.0.0.1").expect("it is one");
    url.query_pairs_mut().extend_pairs(pairs.iter().filter_map(|(name, value)| Some((name, (*value)?))));
    // A `+` is a space to forms alone.
    url.query().unwrap_or_default().replace('+', "%20")
}

/// Asks a running gateway, as its operator. What it answers with an error, is one.
pub(crate) async fn ask_gateway(url: &str, path: &[&str], query: &str) -> Result<Bytes, String> {
    let mut at = Url::parse(url).map_err(|error| format!("--url {url}: {error}"))?;
    at.path_segments_mut().map_err(|()| format!("--url {url}: not a URL of a server"))?.pop_if_empty().extend(path);
    at.set_query((!query.is_empty()).then_some(query));
    let client = reqwest::Client::builder().timeout(Duration::from_millis(COMMAND_WAIT.0)).build();
    let mut request = client.map_err(|error| format!("the HTTP client cannot be made: {error}"))?.get(at);
    let credentials = credentials()?;
    let has_key = credentials.is_some();
    if let Some(credentials) = credentials {
        request = request.header(AUTHORIZATION, credentials);
    }
    let failed = |error: reqwest::Error| {
        // Whoever is not there may be elsewhere; whoever is there and silent is not to be looked for.
        let remedy = if error.is_connect() { ". Is a gateway running there? --url says where it is." } else { "" };
        format!("no answer from {url}: {}{remedy}", causes(&error))
    };
    let response = request.send().await.map_err(failed)?;
    let is_ours = response.headers().contains_key(REQUEST_ID);
    let body = response.bytes().await.map_err(failed)?;
    if !is_ours {
        return Err(format!("what answers at {url} is no Tidegate"));
    }
    match refusal(&body, has_key) {
        Some(refusal) => Err(format!("{url} says: {refusal}")),
        None => Ok(body),
    }
}

/// What shows whoever asks to be the operator, if there is anything.
fn credentials() -> Result<Option<HeaderValue>, String> {
    let key = std::env::var_os(ADMIN_KEY).unwrap_or_default();
    let shown = key.to_str().map(str::trim).and_then(shown);
    match shown {
        Some(shown) => Ok((!key.is_empty()).then_some(shown)),
        None => Err(format!("{ADMIN_KEY} holds a character that no key has. Set it again, to the key alone.")),
    }
}

/// An error and what lies behind it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// Lives through the recordings in a file again. Also says whether all is as it was, where it should be.
pub(crate) fn review(file: &Path, config: Option<&Path>, as_json: bool) -> Result<(String, bool), String> {
    let (name, text) = text_of(file)?;
    let other = config.map(|file| setup::without_keys(file)?.1.json()).transpose()?;
    let (mut told, mut is_well) = (String::new(), true);
    for recording in Recording::read_all(&text).map_err(|damaged| format!("{name}, {damaged}"))? {
        let is_other = other.as_ref().is_some_and(|json| fingerprint(json) != recording.header.config_fingerprint);
        let config = match &other {
            Some(json) => Config::from_json(json, "the other configuration", &assumed_secret),
            None => recording.config(),
        };
        let report = replay(&recording, config.map_err(|errors| errors.to_string())?);
        is_well &= is_other || report.is_identical();
        if as_json {
            told.push_str(&serde_json::to_string(&report).map_err(|error| error.to_string())?);
            told.push('\n');
        } else if is_other {
            told.push_str(&report.table());
        } else {
            told.push_str(&report.to_string());
        }
    }
    Ok((told, is_well))
}
