//! The words of an answer, made of the request alone, so that they repeat and are the same in every dialect.
//!
//! An answer says what it is and echoes the prompt, so that a person trying it sees their own words come back. A prompt
//! that asks for "300 words" gets as many. One word is one token.

use serde_json::{Value, json};

use super::ask::{Ask, Format, TOKENS_MAX};
use super::dialect::Turn;
use super::fault::Fault;
use super::{noise, schema};

/// One choice of an answer.
#[derive(Debug)]
pub(super) struct Said {
    /// The tokens of its thinking; none unless that was asked for.
    pub(super) thinking: Vec<String>,
    /// The tokens of its text.
    pub(super) text: Vec<String>,
    pub(super) calls: Vec<Call>,
    /// Why it is over; a fault may keep that back.
    pub(super) end: Option<End>,
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct Call {
    /// Tells it from all other calls; each dialect puts its own prefix before it.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Value,
    /// The arguments as they are streamed, one token each.
    pub(super) pieces: Vec<String>,
}

/// Why an answer is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Calls,
    /// A filter stopped it midway.
    Filtered,
    Length,
    /// A filter stopped the prompt: there are no words at all.
    Refused,
    Stop,
    StopSequence(String),
}

const ECHO_WORDS_MAX: usize = 40;
const PIECE_CHARS: usize = 12;
const FILLER: &str = "The tide comes in and the gate holds; the tide goes out and the gate opens.";

impl Ask {
    /// The choices of the answer; a fault may give them another end.
    pub(super) fn answer(&self, turn: &Turn<'_>) -> Vec<Said> {
        (0..self.choices).map(|choice| self.choice(choice, turn)).collect()
    }

    fn choice(&self, choice: usize, turn: &Turn<'_>) -> Said {
        if matches!(turn.fault, Some(Fault::ContentFilter { finish_reason: false })) {
            return Said { thinking: Vec::new(), text: Vec::new(), calls: Vec::new(), end: Some(End::Refused) };
        }
        let thinking = if self.thinking { self.thoughts() } else { Vec::new() };
        let calls = self.calls(choice, turn);
        let (text, end) = if calls.is_empty() {
            self.text(choice, turn.vendor, self.tokens_max.saturating_sub(thinking.len()))
        } else {
            (Vec::new(), End::Calls)
        };
        let end = match turn.fault {
            Some(Fault::ContentFilter { finish_reason: true }) => Some(End::Filtered),
            Some(Fault::NoFinish {}) => None,
            _ => Some(end),
        };
        Said { thinking, text, calls, end }
    }

    fn thoughts(&self) -> Vec<String> {
        let words = self.prompt.split_whitespace().count();
        tokens(&format!("The prompt has {words} words; a simulated answer will do.")).map(str::to_owned).collect()
    }

    fn calls(&self, choice: usize, turn: &Turn<'_>) -> Vec<Call> {
        let call = |(at, tool): (usize, &super::ask::Tool)| {
            let arguments = schema::example(&tool.schema);
            let number = u64::try_from(2 * choice + at).unwrap_or_default();
            let id = format!("{:016x}", noise::mix(noise::mix(turn.draw).wrapping_add(number)));
            let arguments = if arguments.is_object() { arguments } else { json!({}) };
            Call { id, name: tool.name.clone(), pieces: pieces(&arguments.to_string()), arguments }
        };
        self.called().into_iter().enumerate().map(call).collect()
    }

    /// The tokens of the text, cut at the first stop sequence and after `tokens_max`.
    fn text(&self, choice: usize, vendor: &str, tokens_max: usize) -> (Vec<String>, End) {
        let whole = match &self.format {
            Format::Text => self.prose(choice, vendor),
            Format::Json => self.echo_object(vendor).to_string(),
            Format::Schema(schema) => schema::example(schema).to_string(),
        };
        let stops = self.stops.iter().filter_map(|stop| Some((whole.find(stop.as_str())?, stop)));
        let stop = stops.min_by_key(|(at, stop)| (*at, stop.len()));
        let text = stop.map_or(whole.as_str(), |(at, _)| &whole[..at]);
        let mut tokens: Vec<String> = match &self.format {
            Format::Schema(_) => pieces(text),
            Format::Text | Format::Json => tokens(text).map(str::to_owned).collect(),
        };
        if self.begun > 0 {
            // It goes on from there: with the space that the beginning must not end with.
            tokens.drain(..self.begun.min(tokens.len()));
            tokens.first_mut().into_iter().for_each(|token| token.insert(0, ' '));
        }
        let end = match stop {
            _ if tokens.len() > tokens_max => End::Length,
            Some((_, stop)) => End::StopSequence(stop.clone()),
            None => End::Stop,
        };
        tokens.truncate(tokens_max);
        (tokens, end)
    }

    fn prose(&self, choice: usize, vendor: &str) -> String {
        let (model, echo) = (&self.model, self.echo());
        let verb = if self.prompt_is_question() { "asked" } else { "said" };
        let number = if choice > 0 { format!("Answer {}: ", choice + 1) } else { String::new() };
        let images = match self.images {
            0 => String::new(),
            1 => " You showed 1 image.".to_owned(),
            many => format!(" You showed {many} images."),
        };
        let results: Vec<String> = self.results.iter().map(|result| format!("\"{}\"", shortened(result))).collect();
        let results =
            if results.is_empty() { String::new() } else { format!(" The tools said: {}.", results.join(", ")) };
        let text = format!(
            "{number}This is a simulated answer by the sandbox vendor {vendor}, standing in for {model}; no model was \
             called. You {verb}: \"{echo}\"{images}{results}"
        );
        let missing = self.words_asked().saturating_sub(text.split_whitespace().count());
        FILLER.split(' ').cycle().take(missing).fold(text, |text, word| text + " " + word)
    }

    fn echo_object(&self, vendor: &str) -> Value {
        json!({"simulated": true, "vendor": vendor, "model": self.model, "you_said": self.echo()})
    }

    fn echo(&self) -> String {
        shortened(&self.prompt)
    }

    fn prompt_is_question(&self) -> bool {
        self.prompt.split_whitespace().take(ECHO_WORDS_MAX).last().is_some_and(|word| word.ends_with('?'))
    }

    /// The number in "300 words", if the prompt has one.
    fn words_asked(&self) -> usize {
        let words: Vec<&str> = self.prompt.split_whitespace().take(ECHO_WORDS_MAX).collect();
        let asked = words.windows(2).find(|pair| pair[1].starts_with("words"));
        asked.and_then(|pair| pair[0].parse().ok()).unwrap_or(0).min(TOKENS_MAX)
    }
}

impl Said {
    /// What it cost, thinking included.
    pub(super) fn tokens(&self) -> usize {
        let called: usize = self.calls.iter().map(|call| call.pieces.len()).sum();
        self.thinking.len() + self.text.len() + called
    }
}

/// The first words of a text, with a sign where more were.
fn shortened(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().take(ECHO_WORDS_MAX + 1).collect();
    match words.get(..ECHO_WORDS_MAX) {
        Some(echo) if words.len() > ECHO_WORDS_MAX => echo.join(" ") + " …",
        _ => words.join(" "),
    }
}

fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// JSON has few spaces: it comes in pieces of one length.
fn pieces(json: &str) -> Vec<String> {
    let chars: Vec<char> = json.chars().collect();
    chars.chunks(PIECE_CHARS).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ask::{Speaker, Tool};
    use super::super::sample::TURN;
    use super::*;

    fn ask(prompt: &str) -> Ask {
        let mut ask = Ask::new("m1");
        ask.hear(Speaker::User, prompt.to_owned());
        ask
    }

    fn turn(fault: Option<&Fault>) -> Turn<'_> {
        Turn { fault, ..TURN }
    }

    fn text(ask: &Ask) -> (String, End) {
        let said = ask.answer(&turn(None)).remove(0);
        (said.text.concat(), said.end.unwrap())
    }

    #[test]
    fn images_and_tool_results_are_told() {
        let mut ask = ask("Look!");
        ask.images = 2;
        assert!(text(&ask).0.ends_with("You said: \"Look!\" You showed 2 images."));
        ask.hear(Speaker::Tool, "21 degrees".to_owned());
        assert!(text(&ask).0.ends_with("The tools said: \"21 degrees\"."));
    }

    #[test]
    fn the_first_stop_sequence_ends_the_text_before_it() {
        let mut ask = ask("hi");
        ask.stops = vec!["vendor".to_owned(), "simulated ".to_owned()];
        assert_eq!(text(&ask), ("This is a ".to_owned(), End::StopSequence("simulated ".to_owned())));
        ask.limit(Some(2));
        assert_eq!(text(&ask), ("This is ".to_owned(), End::Length));
    }

    #[test]
    fn an_answer_that_has_begun_goes_on() {
        let mut ask = ask("hi");
        let (whole, _) = text(&ask);
        ask.begun = 3;
        let (rest, end) = text(&ask);
        assert_eq!((format!("This is a{rest}"), end), (whole, End::Stop));
        ask.begun = 1000;
        assert_eq!(text(&ask), (String::new(), End::Stop));
    }

    #[test]
    fn thinking_counts_against_the_limit() {
        let mut ask = ask("hi");
        ask.thinking = true;
        ask.limit(Some(12));
        let said = ask.answer(&turn(None)).remove(0);
        assert_eq!((said.thinking.len(), said.text.len(), said.tokens()), (10, 2, 12));
        assert_eq!(said.end, Some(End::Length));
    }

    #[test]
    fn calls_have_arguments_of_their_schema_in_pieces() {
        let mut ask = ask("both");
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        ask.tools = ["a", "b"].map(|name| Tool { name: name.to_owned(), schema: schema.clone() }).into();
        let said = ask.answer(&turn(None)).remove(0);
        assert_eq!(said.end, Some(End::Calls));
        assert_ne!(said.calls[0].id, said.calls[1].id);
        assert!(said.calls[1].pieces.len() > 1);
        let arguments: Value = serde_json::from_str(&said.calls[1].pieces.concat()).unwrap();
        assert!(arguments["city"].is_string());
        assert_eq!(said.calls[1].arguments, arguments);
    }

    #[test]
    fn choices_differ() {
        let mut ask = ask("hi");
        ask.choices = 2;
        let said = ask.answer(&turn(None));
        assert!(said[1].text.concat().starts_with("Answer 2: This is"));
    }

    #[test]
    fn a_filter_stops_the_prompt_or_the_words() {
        let ask = ask("hi");
        let refused = ask.answer(&turn(Some(&Fault::ContentFilter { finish_reason: false }))).remove(0);
        assert_eq!((refused.tokens(), refused.end), (0, Some(End::Refused)));
        let filtered = ask.answer(&turn(Some(&Fault::ContentFilter { finish_reason: true }))).remove(0);
        assert!(filtered.tokens() > 0 && filtered.end == Some(End::Filtered));
    }
}
