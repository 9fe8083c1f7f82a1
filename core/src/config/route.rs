//! Routes: whom a request that names one may be sent to, in which order, and what becomes of it otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BreakerId, HedgePolicy, RetryPolicy, TargetId, Timeouts};
use crate::dialect::{Rescue, Surface};
use crate::price::Picodollars;
use crate::time::Millis;

/// `[routes.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What clients put in `model`.
    pub name: String,
    /// Everyone that a request on it may be sent to, none twice, those of `usual` first.
    pub candidates: Vec<Candidate>,
    /// Whom it asks, by what a request is.
    pub choices: Choices,
    /// How often a request on this route is tried.
    pub retry: RetryPolicy,
    /// When a slow attempt is hedged; `None`: never.
    pub hedge: Option<HedgePolicy>,
    /// Whether answers are kept for whoever asks the same again; `None`: none are.
    pub cache: Option<CachePolicy>,
    /// What happens to an answer that the vendor's content filter stopped.
    pub content_filter: ContentFilter,
    /// What happens to parameters that a candidate cannot honour.
    pub parameters: Parameters,
    /// Who is asked next after some kinds of failure, rather than who comes next.
    pub after: After,
    /// How many of its candidates may be shut off at once, in 1/1000 of them. Default 1000.
    pub ejected_max_permille: u32,
    /// What happens when no candidate can be asked any more.
    pub exhausted: Exhausted,
    /// What is answered where that is [`Exhausted::Canned`].
    pub canned: String,
    /// How another candidate goes on with a stream that breaks off while the client reads it; `None`: none does.
    pub stream_cut: Option<Rescue>,
}

/// `[routes.NAME.cache]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachePolicy {
    /// How old an answer may be. Default 1 h.
    pub ttl: Millis,
    /// What all of them together may take, in bytes. Default 64 MiB.
    pub size: u64,
    /// Whether one client may be given what another has asked for. Default no.
    pub shared: bool,
}

impl Route {
    /// How many of its candidates may be shut off at once.
    pub fn ejected_max(&self) -> usize {
        share_of(self.candidates.len(), self.ejected_max_permille)
    }
}

/// So many thousandths of `count`, rounded down.
pub(super) fn share_of(count: usize, permille: u32) -> usize {
    let permille = usize::try_from(permille).expect("a share is at most 1000");
    count.saturating_mul(permille) / 1000
}

/// Whom a route asks, by what a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    /// Where nothing else applies.
    pub usual: Choice,
    /// By what a request is about, with `strategy = "task"`.
    pub tasks: Option<Tasks>,
    /// Whom some requests lead to instead: the first condition that holds counts.
    pub when: Vec<When>,
    /// Who is asked first by some of the requests that no condition leads elsewhere.
    pub canary: Option<Canary>,
    /// What [`Strategy::Context`] goes by.
    pub score: ScorePolicy,
    /// What [`Strategy::Weighted`] draws by, rather than by chance.
    pub sticky: Option<Sticky>,
    /// Another choice, which is made for the requests that no condition leads elsewhere, compared, and not carried out.
    pub shadow: Option<Choice>,
}

/// `routes.NAME.score`: what each part of a score weighs, and what is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScorePolicy {
    /// That the request's task is among a target's strengths. Default 2: as much as the two others together.
    pub strengths: u32,
    /// How cheap a target is, against the cheapest. Default 1.
    pub price: u32,
    /// How quick it is, against the quickest. Default 1.
    pub latency: u32,
    /// What a request may cost at most.
    pub max_cost: Option<Picodollars>,
    /// What an answer may be expected to take at most.
    pub max_latency: Option<Millis>,
}

impl Default for ScorePolicy {
    fn default() -> Self {
        Self { strengths: 2, price: 1, latency: 1, max_cost: None, max_latency: None }
    }
}

/// `routes.NAME.sticky`: what stays with one candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sticky {
    /// A conversation, so that vendors' caches of prompts are of use.
    Prefix,
    /// A client.
    Client,
}

/// Candidates, and what they are ranked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// By what they are ranked.
    pub strategy: Strategy,
    /// In the order of preference; at least one, none twice.
    pub candidates: Vec<Candidate>,
}

/// One of `[[routes.NAME.when]]`. Of what is there, all must hold; of each list, one is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// Indexes into the config's clients.
    pub clients: Option<Vec<usize>>,
    /// What the client has marked the request with.
    pub tags: Option<Vec<String>>,
    /// What is asked for.
    pub kinds: Option<Vec<Kind>>,
    /// Whom that leads to.
    pub choice: Choice,
}

/// `routes.NAME.canary`: a share of the requests asks this candidate first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary {
    /// Who is tried out.
    pub candidate: Candidate,
    /// So many of a thousand requests.
    pub share_permille: u32,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// An answer, in whichever API.
    #[default]
    Chat,
    /// Vectors.
    Embeddings,
    /// How many tokens a prompt has.
    CountTokens,
}

impl From<Surface> for Kind {
    fn from(surface: Surface) -> Self {
        match surface {
            Surface::Embeddings => Self::Embeddings,
            Surface::CountTokens => Self::CountTokens,
            Surface::Chat | Surface::Completions | Surface::Responses | Surface::Messages => Self::Chat,
        }
    }
}

impl Choices {
    /// Whether any of them goes by this strategy.
    pub(super) fn goes_by(&self, strategy: Strategy) -> bool {
        let mut choices = self.when.iter().map(|when| &when.choice).chain(&self.shadow).chain([&self.usual]);
        choices.any(|choice| choice.strategy == strategy)
    }

    /// Everyone whom any of them names, those of the usual one first.
    pub(super) fn models(&mut self) -> Vec<TargetId> {
        let mut models = Vec::new();
        for candidate in self.candidates_mut() {
            if !models.contains(&candidate.target) {
                models.push(candidate.target);
            }
        }
        models
    }

    /// Makes their candidates the route's, but for their weights.
    pub(super) fn fit(&mut self, of_route: &[Candidate]) {
        self.candidates_mut().for_each(|candidate| candidate.fit(of_route));
        // A shadow asks nobody: whom it names is none of the route's for that.
        let of_shadow = self.shadow.iter_mut().flat_map(|shadow| &mut shadow.candidates);
        of_shadow.for_each(|candidate| candidate.fit(of_route));
    }

    fn candidates_mut(&mut self) -> impl Iterator<Item = &mut Candidate> {
        let tasks = self.tasks.iter_mut().flat_map(|tasks| tasks.0.values_mut().flatten());
        let when = self.when.iter_mut().map(|when| &mut when.choice);
        let choices = [&mut self.usual].into_iter().chain(tasks).chain(when);
        let canary = self.canary.iter_mut().map(|canary| &mut canary.candidate);
        choices.flat_map(|choice| &mut choice.candidates).chain(canary)
    }
}

/// `routes.NAME.tasks`: a row for each task, a choice in each of its columns. There is always a row for `general`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tasks(pub(super) BTreeMap<String, [Choice; Column::COUNT]>);

/// A column of a route's table of tasks: what clients call a priority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// An answer soon.
    Fast,
    /// Neither of the two.
    #[default]
    Normal,
    /// An answer that is as good as can be.
    High,
}

impl Column {
    pub(super) const COUNT: usize = 3;

    /// All of them, as the config calls them.
    pub(super) const NAMED: [(&'static str, Self); Self::COUNT] =
        [("fast", Self::Fast), ("normal", Self::Normal), ("high", Self::High)];

    /// By its name in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, column)| *column)
    }

    /// As the config calls it.
    pub fn name(self) -> &'static str {
        Self::NAMED[self as usize].0
    }
}

impl Tasks {
    /// The row that is for every task without one of its own.
    pub const GENERAL: &str = "general";

    /// The row that a task has, and whom it names.
    pub fn choice(&self, task: &str, column: Column) -> (&str, &Choice) {
        let row = self.0.get_key_value(task).or_else(|| self.0.get_key_value(Self::GENERAL));
        let (name, row) = row.expect("a table has a general row, or it is refused");
        (name, &row[column as usize])
    }
}

/// A target as a route uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub target: TargetId,
    /// What guards it on this route: its own breaker, or one that the route has for it.
    pub breaker: BreakerId,
    /// Its limits in time on this route.
    pub timeouts: Timeouts,
    /// How long a key that it refuses is left alone.
    pub quarantine: Millis,
    /// How often it is drawn, against the others. Default 1.
    pub weight: u32,
}

impl Candidate {
    /// Makes it what the route has for its target, if it has something, but for its weight.
    fn fit(&mut self, of_route: &[Self]) {
        if let Some(fitting) = of_route.iter().find(|known| known.target == self.target) {
            *self = Self { weight: self.weight, ..*fitting };
        }
    }
}

/// `routes.NAME.strategy`: which candidate is asked first. A table of tasks is none of them: each of its lists is ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The first in the config's order that can serve.
    #[default]
    Ordered,
    /// Drawn at random, in proportion to their weights.
    Weighted,
    /// The one that is expected to answer sooner, of two drawn at random.
    Latency,
    /// Drawn at random, in proportion to 1 / (latency + 1).
    InverseLatency,
    /// The one at which this request is expected to cost the least.
    Cost,
    /// The one with the best score for this request, of those that suit it.
    Context,
}

impl Strategy {
    /// All of them, as the config calls them.
    pub(super) const NAMED: [(&'static str, Self); 6] = [
        ("ordered", Self::Ordered),
        ("weighted", Self::Weighted),
        ("latency", Self::Latency),
        ("inverse_latency", Self::InverseLatency),
        ("cost", Self::Cost),
        ("context", Self::Context),
    ];

    /// As the config calls it.
    pub fn name(self) -> &'static str {
        Self::NAMED[self as usize].0
    }
}

/// `routes.NAME.after`: candidates of the route that are asked next where an attempt has failed in this way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct After {
    /// It took longer than a limit.
    pub timeout: Option<TargetId>,
    /// No connection could be made, or it broke before an answer began.
    pub connection: Option<TargetId>,
}

/// `routes.NAME.exhausted`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exhausted {
    /// The caller gets an error with a `Retry-After`.
    #[default]
    Error,
    /// The target whose breaker lets through first gets a probe now.
    Soonest,
    /// All breakers of the route are reset, and all candidates asked.
    Panic,
    /// The caller gets the route's own text as an answer, marked by a header, at no cost.
    Canned,
    /// The request is kept, to be carried out when somebody can, and the caller told where to ask for the answer.
    Queue,
}

/// `routes.NAME.content_filter`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContentFilter {
    /// The caller gets the vendor's refusal.
    #[default]
    Return,
    /// The next candidate is asked.
    Reroute,
}

/// `routes.NAME.parameters`: what happens to a parameter that a candidate cannot honour. Tools, images and schemas are
/// not among them: without those the answer would be another one, so a candidate that lacks them is always passed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parameters {
    /// It is left out, and named in `x-tidegate-dropped`.
    #[default]
    Lenient,
    /// The candidate is passed over.
    Strict,
}
