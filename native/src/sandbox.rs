//! Simulated AI vendors on real loopback sockets, each speaking OpenAI's, Anthropic's and Gemini's wire formats.
//!
//! One thing serves three ends: a first run with no keys has vendors to talk to, the conformance tests have vendors
//! that fail on command, and `tidegate sandbox` lets anyone try their own client against both. So the sandbox is a
//! real server, down to the reset and the half-written chunk, and it says in every answer that it is simulated. It is as
//! strict as the vendors are: what they do not document, they do not take.
//!
//! A request is logged on arrival (`log`), meets the first fault that fits it (`fault`), is read by the dialect that its
//! path belongs to (`dialect`; `openai`, `anthropic`, `gemini`) into what it asks for (`ask`), and gets words that are the
//! same in every dialect (`words`). The fault then spoils the answer (`spoil`). What goes to the socket is a list of steps
//! (`reply`), so that every misbehaviour is data before it is bytes. Everything kept is bounded.

mod answer;
mod anthropic;
mod ask;
mod control;
mod dialect;
mod fault;
mod gemini;
mod log;
mod noise;
mod openai;
mod reply;
#[cfg(test)]
mod sample;
mod schema;
mod serve;
mod spoil;
mod vector;
#[cfg(test)]
mod wire;
mod words;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// Running vendors, one loopback port each. Dropping it closes every one of their sockets.
#[derive(Debug)]
pub struct Sandbox {
    running: Vec<Running>,
}

/// One vendor to simulate.
#[derive(Debug, Clone)]
pub struct VendorSpec {
    /// What its answers say they come from.
    pub name: String,
    /// How fast and how reliable it is, and what it serves.
    pub profile: Profile,
    /// Its port on 127.0.0.1; absent, any free one.
    pub port: Option<u16>,
}

/// A vendor's manner when nothing is scripted.
#[derive(Debug, Clone)]
pub struct Profile {
    /// From request to first content token: each request draws evenly from this range.
    pub first_token_ms: RangeInclusive<u64>,
    /// The pace from there on; absent, as fast as the socket takes them.
    pub tokens_per_second: Option<NonZeroU32>,
    /// Every so-many-th call is refused with a 503; absent, none. Counted, not drawn, so that short runs see none.
    pub fails_every: Option<NonZeroU64>,
    /// What it serves; any other model is a 404. Empty: whatever is asked for.
    pub models: Vec<String>,
}

/// Where a running vendor is.
#[derive(Debug, Clone, Copy)]
pub struct Vendor<'a> {
    /// Its name, as in its [`VendorSpec`].
    pub name: &'a str,
    /// Its socket.
    pub address: SocketAddr,
}

#[derive(Debug)]
struct Running {
    name: String,
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Sandbox {
    /// Binds and serves every vendor, or none: an error says which of them has no port.
    pub async fn start(vendors: Vec<VendorSpec>) -> io::Result<Self> {
        let mut sandbox = Self { running: Vec::with_capacity(vendors.len()) };
        for VendorSpec { name, profile, port } in vendors {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(0)));
            let listener = TcpListener::bind(address).await.map_err(|error| {
                io::Error::new(error.kind(), format!("sandbox vendor {name} on {address}: {error}"))
            })?;
            let address = listener.local_addr()?;
            let server = Arc::new(serve::Server::new(name.clone(), profile));
            let accepting = tokio::spawn(serve::accept(listener, server)).abort_handle();
            sandbox.running.push(Running { name, address, accepting });
        }
        Ok(sandbox)
    }

    /// The vendors, in the order they were given.
    pub fn vendors(&self) -> impl Iterator<Item = Vendor<'_>> {
        self.running.iter().map(|running| Vendor { name: &running.name, address: running.address })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for running in &self.running {
            running.accepting.abort();
        }
    }
}

impl Vendor<'_> {
    /// What an OpenAI client takes for the vendor's API: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What an Anthropic client takes for it: `http://127.0.0.1:PORT`.
    pub fn anthropic_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a Gemini client takes for it: `http://127.0.0.1:PORT/v1beta`.
    pub fn gemini_url(&self) -> String {
        format!("http://{}/v1beta", self.address)
    }
}

impl VendorSpec {
    /// The three vendors of the embedded default, the quickest first, on any free ports.
    pub fn defaults() -> Vec<Self> {
        let spec = |name: &str, profile| Self { name: name.to_owned(), profile, port: None };
        vec![
            spec("deepseek", Profile::deepseek()),
            spec("google", Profile::gemini_flash()),
            spec("openai", Profile::gpt_mini()),
        ]
    }
}

/// The named profiles take their figures from a published benchmark of 1000 requests, 50 at a time: mean and p95 of a
/// whole short answer, and availability. Of the mean, the pace takes what 30 tokens take; the rest is the first token,
/// drawn from mean ± (p95 − mean) / 0.9, whose 95th percentile is the benchmark's.
impl Profile {
    /// No latency, any model, never a failure of its own: for tests and for measuring what stands in front of it.
    pub fn instant() -> Self {
        Self { first_token_ms: 0..=0, tokens_per_second: None, fails_every: None, models: Vec::new() }
    }

    /// `DeepSeek` V3.2: mean 850 ms, p95 1200 ms, 99.7 % available.
    pub fn deepseek() -> Self {
        Self::published(61..=839, 75, 333, &["deepseek-chat"])
    }

    /// Gemini 2.5 Flash: mean 950 ms, p95 1500 ms, 99.5 % available.
    pub fn gemini_flash() -> Self {
        Self::published(139..=1361, 150, 200, &["gemini-2.5-flash", "gemini-2.5-flash-preview-05-20"])
    }

    /// GPT-4.1 mini: mean 1100 ms, p95 1800 ms, 99.8 % available. It serves embeddings too.
    pub fn gpt_mini() -> Self {
        Self::published(22..=1578, 100, 500, &["gpt-4.1-mini", "text-embedding-3-small"])
    }

    /// Claude 3.5 Sonnet: mean 1300 ms, p95 2200 ms, 99.6 % available.
    pub fn claude_sonnet() -> Self {
        Self::published(1..=1999, 100, 250, &["claude-3-5-sonnet-latest"])
    }

    fn published(first_token_ms: RangeInclusive<u64>, pace: u32, fails_every: u64, models: &[&str]) -> Self {
        Self {
            first_token_ms,
            tokens_per_second: NonZeroU32::new(pace),
            fails_every: NonZeroU64::new(fails_every),
            models: models.iter().map(|&model| model.to_owned()).collect(),
        }
    }

    /// The wait for the first token, for a request that drew `draw`.
    fn first_token(&self, draw: u64) -> Duration {
        let (low, high) = (*self.first_token_ms.start(), *self.first_token_ms.end());
        let width = high.saturating_sub(low).saturating_add(1);
        Duration::from_millis(low.saturating_add(draw % width))
    }

    /// The wait between one token and the next.
    fn token_gap(&self) -> Duration {
        self.tokens_per_second.map_or(Duration::ZERO, |pace| Duration::from_secs(1) / pace.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About what the sandbox answers a one-line prompt with.
    const USUAL_TOKENS: u32 = 30;

    #[test]
    fn profiles_give_the_published_mean_and_p95() {
        let published = [
            (Profile::deepseek(), 850, 1200),
            (Profile::gemini_flash(), 950, 1500),
            (Profile::gpt_mini(), 1100, 1800),
            (Profile::claude_sonnet(), 1300, 2200),
        ];
        for (profile, mean_ms, p95_ms) in published {
            let whole = |n| profile.first_token(noise::mix(n)) + profile.token_gap() * USUAL_TOKENS;
            let mut answers_ms: Vec<u128> = (0..10_000).map(|n| whole(n).as_millis()).collect();
            answers_ms.sort_unstable();
            let mean = answers_ms.iter().sum::<u128>() / 10_000;
            assert!(mean.abs_diff(mean_ms) <= mean_ms / 40, "{profile:?}: mean {mean}");
            assert!(answers_ms[9_500].abs_diff(p95_ms) <= p95_ms / 40, "{profile:?}: p95 {}", answers_ms[9_500]);
        }
    }

    #[test]
    fn an_upside_down_range_is_its_start() {
        #[expect(clippy::reversed_empty_ranges, reason = "a config could say so")]
        let profile = Profile { first_token_ms: 9..=3, ..Profile::instant() };
        assert_eq!(profile.first_token(77), Duration::from_millis(9));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_that_names_the_vendor() {
        let first = Sandbox::start(VendorSpec::defaults()).await.unwrap();
        let port = first.vendors().next().map(|vendor| vendor.address.port());
        let again = VendorSpec { name: "late".to_owned(), profile: Profile::instant(), port };
        let error = Sandbox::start(vec![again]).await.unwrap_err();
        assert!(error.to_string().contains("sandbox vendor late on 127.0.0.1:"), "{error}");
    }
}
