//! A request's body, weighed in one pass: which strings in it are text for the model, and which are its frame.
//!
//! The body has been read as JSON before, but it need not be a request that any vendor would take: whatever it holds, it is
//! walked once, without recursion and without keeping anything of it.

use super::Weight;
use super::script::Scale;

/// What a message costs beside its text: OpenAI's three tokens of frame and one for its role.
const MESSAGE_MILLI: u64 = 4_000;

/// What begins the answer.
const ANSWER_MILLI: u64 = 3_000;

/// What a member of the body is to the model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Conversations and prompts.
    Text,
    /// Tools and schemas: the names in them are text as well.
    Schema,
    /// The most that an answer may be long.
    OutputMax,
    /// How many answers are wanted.
    Answers,
    /// Nothing that the model reads.
    Frame,
}

/// What a member within a conversation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Its value is read by the model, its name is not.
    Value,
    /// Its name is read too: an argument of a tool's call.
    Both,
    Role,
    Type,
    /// Names, addresses and bytes that the model does not read as text.
    Frame,
}

/// Weighs the body of a request, of whichever of our surfaces.
pub fn weigh(body: &[u8]) -> Weight {
    let mut walk = Walk {
        scale: Scale::default(),
        frame_milli: ANSWER_MILLI,
        weight: Weight { text_milli: 0, images: 0, files: 0, output_max: None, answers: 1 },
        depth: 0,
        part: Part::Frame,
        member: Member::Value,
    };
    let mut at = 0;
    while let Some(byte) = body.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => walk.depth += 1,
            b'}' | b']' => walk.depth = walk.depth.saturating_sub(1),
            b'"' => {
                let end = at + string_len(&body[at..]);
                let string = &body[at..end];
                at = (end + 1).min(body.len());
                let is_name = body[at..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                if is_name { walk.name(string) } else { walk.string(string) }
            }
            b'0'..=b'9' => {
                let rest = body[at..].iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E'));
                let begin = at - 1;
                at += rest.count();
                walk.number(&body[begin..at]);
            }
            _ => {}
        }
    }
    walk.weight.text_milli = walk.scale.total_milli().saturating_add(walk.frame_milli);
    walk.weight
}

struct Walk {
    scale: Scale,
    frame_milli: u64,
    weight: Weight,
    depth: u32,
    part: Part,
    member: Member,
}

impl Walk {
    fn name(&mut self, name: &[u8]) {
        if self.depth == 1 {
            self.part = part(name);
            self.member = Member::Value;
            return;
        }
        self.member = member(name);
        match self.part {
            Part::Schema => self.text(name),
            Part::Text if self.member == Member::Both => self.text(name),
            Part::Text if self.member == Member::Role => self.frame_milli += MESSAGE_MILLI,
            _ => {}
        }
    }

    fn string(&mut self, string: &[u8]) {
        match (self.part, self.member) {
            (Part::Text, Member::Type) => match string {
                b"image_url" | b"image" | b"input_image" => self.weight.images = self.weight.images.saturating_add(1),
                b"file" | b"document" | b"input_file" | b"input_audio" => {
                    self.weight.files = self.weight.files.saturating_add(1);
                }
                _ => {}
            },
            (Part::Text, Member::Value | Member::Both) | (Part::Schema, _) => self.text(string),
            _ => {}
        }
    }

    fn number(&mut self, digits: &[u8]) {
        let value = || std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        match self.part {
            Part::OutputMax if self.depth == 1 => self.weight.output_max = value(),
            Part::Answers if self.depth == 1 => {
                self.weight.answers = value().and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
            }
            // A prompt may be given as tokens.
            Part::Text | Part::Schema if self.depth > 1 => self.frame_milli += 1_000,
            _ => {}
        }
    }

    fn text(&mut self, string: &[u8]) {
        self.scale.part();
        for chunk in string.utf8_chunks() {
            let mut characters = chunk.valid().chars();
            while let Some(character) = characters.next() {
                let character = if character == '\\' { escaped(&mut characters) } else { character };
                self.scale.add(character);
            }
        }
    }
}

fn part(name: &[u8]) -> Part {
    match name {
        b"messages" | b"input" | b"prompt" | b"instructions" | b"system" => Part::Text,
        b"tools" | b"functions" | b"response_format" | b"text" | b"output_config" => Part::Schema,
        b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => Part::OutputMax,
        b"n" => Part::Answers,
        _ => Part::Frame,
    }
}

fn member(name: &[u8]) -> Member {
    match name {
        b"role" => Member::Role,
        b"type" => Member::Type,
        b"content" | b"text" | b"arguments" | b"name" | b"input" | b"output" | b"function" | b"tool_calls"
        | b"thinking" | b"reasoning_content" | b"refusal" | b"summary" | b"source" => Member::Value,
        b"id" | b"call_id" | b"tool_call_id" | b"tool_use_id" | b"url" | b"data" | b"image_url" | b"file_data"
        | b"file_id" | b"file_url" | b"media_type" | b"format" | b"detail" | b"status" | b"signature"
        | b"encrypted_content" | b"cache_control" | b"ttl" => Member::Frame,
        _ => Member::Both,
    }
}

/// How long a string is that ends with a quote; what is escaped is jumped over.
fn string_len(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &rest[at..]) {
        at += found;
        if rest[at] == b'"' {
            return at;
        }
        at = (at + 2).min(rest.len());
    }
    rest.len()
}

/// The character after a backslash. Halves of a pair count as one each: such are rare, and costly to a vendor too.
fn escaped(characters: &mut std::str::Chars<'_>) -> char {
    match characters.next() {
        Some('n' | 'r') => '\n',
        Some('t') => '\t',
        Some('u') => {
            let code = (0..4).try_fold(0, |code, _| Some(code * 16 + characters.next()?.to_digit(16)?));
            code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        Some(other) => other,
        None => '\\',
    }
}
