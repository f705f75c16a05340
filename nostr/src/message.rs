//! The messages between client and relay (NIP-01, NIP-42's `AUTH`): reading and writing, no meaning.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::event::{Event, EventId};
use crate::filter::{Filter, FilterError};

/// Longest subscription id in bytes (NIP-01).
pub(crate) const SUBSCRIPTION_ID_BYTES_MAX: usize = 64;
/// Most of a peer's own words that are kept, in characters.
pub(crate) const WORDS_MAX: usize = 200;

/// A message is none of NIP-01's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MessageError {
    /// Not a JSON array that starts with a name.
    #[error("not a message of NIP-01: expected a JSON array that starts with a name")]
    Shape,
    /// A name that is not known.
    #[error("messages of type {0:?} are not supported")]
    Unknown(String),
    /// An argument is missing or of the wrong shape.
    #[error("{name}: {why}")]
    Argument {
        /// Name of the message.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A filter is not served; the subscription is to be closed.
    #[error("{error}")]
    Filter {
        /// Which subscription asked.
        subscription: String,
        /// What is wrong.
        error: FilterError,
    },
}

fn argument(name: &'static str, why: impl ToString) -> MessageError {
    MessageError::Argument {
        name,
        why: why.to_string(),
    }
}

/// What a relay says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RelayMessage {
    Event {
        subscription: String,
        event: Event,
    },
    Ok {
        id: EventId,
        accepted: bool,
        words: String,
    },
    Eose {
        subscription: String,
    },
    Closed {
        subscription: String,
        words: String,
    },
    Notice {
        words: String,
    },
    Auth,
}

impl RelayMessage {
    pub(crate) fn parse(text: &str) -> Result<Self, MessageError> {
        let (name, arguments) = split(text)?;
        let argument_text = |name, index: usize| -> Result<String, MessageError> {
            let raw: &&RawValue = arguments
                .get(index)
                .ok_or_else(|| argument(name, "an argument is missing"))?;
            serde_json::from_str(raw.get()).map_err(|e| argument(name, e))
        };
        match name.as_str() {
            "EVENT" => {
                let raw = arguments
                    .get(1)
                    .ok_or_else(|| argument("EVENT", "the event is missing"))?;
                Ok(Self::Event {
                    subscription: argument_text("EVENT", 0)?,
                    event: Event::from_json(raw).map_err(|e| argument("EVENT", e))?,
                })
            }
            "OK" => {
                let accepted = arguments
                    .get(1)
                    .and_then(|raw| serde_json::from_str(raw.get()).ok())
                    .ok_or_else(|| argument("OK", "the answer is missing"))?;
                Ok(Self::Ok {
                    id: argument_text("OK", 0)?
                        .parse()
                        .map_err(|e| argument("OK", e))?,
                    accepted,
                    words: clean(&argument_text("OK", 2).unwrap_or_default()),
                })
            }
            "EOSE" => Ok(Self::Eose {
                subscription: argument_text("EOSE", 0)?,
            }),
            "CLOSED" => Ok(Self::Closed {
                subscription: argument_text("CLOSED", 0)?,
                words: clean(&argument_text("CLOSED", 1).unwrap_or_default()),
            }),
            "NOTICE" => Ok(Self::Notice {
                words: clean(&argument_text("NOTICE", 0)?),
            }),
            "AUTH" => Ok(Self::Auth),
            _ => Err(MessageError::Unknown(clean(&name))),
        }
    }

    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Event {
                subscription,
                event,
            } => json!(["EVENT", subscription, event]),
            Self::Ok {
                id,
                accepted,
                words,
            } => json!(["OK", id, accepted, words]),
            Self::Eose { subscription } => json!(["EOSE", subscription]),
            Self::Closed {
                subscription,
                words,
            } => json!(["CLOSED", subscription, words]),
            Self::Notice { words } => json!(["NOTICE", words]),
            Self::Auth => json!(["AUTH", ""]),
        }
        .to_string()
    }
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientMessage {
    Event(Event),
    Request {
        subscription: String,
        filters: Vec<Filter>,
    },
    Close {
        subscription: String,
    },
}

impl ClientMessage {
    pub(crate) fn parse(text: &str) -> Result<Self, MessageError> {
        let (name, arguments) = split(text)?;
        let first = arguments.first();
        match name.as_str() {
            "EVENT" => {
                let raw = first.ok_or_else(|| argument("EVENT", "the event is missing"))?;
                Event::from_json(raw)
                    .map(Self::Event)
                    .map_err(|e| argument("EVENT", e))
            }
            "REQ" => {
                let subscription = subscription("REQ", first)?;
                let mut filters = Vec::new();
                for raw in arguments.iter().skip(1) {
                    let value: Value =
                        serde_json::from_str(raw.get()).map_err(|e| argument("REQ", e))?;
                    filters.push(Filter::from_json(&value).map_err(|error| {
                        MessageError::Filter {
                            subscription: subscription.clone(),
                            error,
                        }
                    })?);
                }
                if filters.is_empty() {
                    return Err(argument("REQ", "a filter is missing"));
                }
                Ok(Self::Request {
                    subscription,
                    filters,
                })
            }
            "CLOSE" => Ok(Self::Close {
                subscription: subscription("CLOSE", first)?,
            }),
            _ => Err(MessageError::Unknown(clean(&name))),
        }
    }

    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Event(event) => json!(["EVENT", event]),
            Self::Request {
                subscription,
                filters,
            } => {
                let mut parts = vec![json!("REQ"), json!(subscription)];
                parts.extend(filters.iter().map(Filter::to_json));
                Value::Array(parts)
            }
            Self::Close { subscription } => json!(["CLOSE", subscription]),
        }
        .to_string()
    }
}

fn subscription(name: &'static str, raw: Option<&&RawValue>) -> Result<String, MessageError> {
    let id: String = raw
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or_else(|| argument(name, "the subscription id is missing"))?;
    if id.is_empty() || id.len() > SUBSCRIPTION_ID_BYTES_MAX {
        return Err(argument(name, "a subscription id has 1 to 64 characters"));
    }
    Ok(id)
}

fn split(text: &str) -> Result<(String, Vec<&RawValue>), MessageError> {
    let mut parts: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| MessageError::Shape)?;
    if parts.is_empty() {
        return Err(MessageError::Shape);
    }
    let name = serde_json::from_str(parts.remove(0).get()).map_err(|_| MessageError::Shape)?;
    Ok((name, parts))
}

/// Makes a peer's own words safe to log and show: one line, no control characters, [`WORDS_MAX`] characters.
pub(crate) fn clean(words: &str) -> String {
    words
        .chars()
        .map(|c| {
            if c.is_control() || is_bidi_control(c) {
                ' '
            } else {
                c
            }
        })
        .take(WORDS_MAX)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Characters that make text read in another order than it is stored in.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            let _ = RelayMessage::parse(&text);
            let _ = ClientMessage::parse(&text);
        }

        #[test]
        fn any_arguments_are_read_without_panic(
            name in "EVENT|OK|EOSE|CLOSED|NOTICE|AUTH|REQ|CLOSE",
            arguments in prop::collection::vec(
                r##"\{\}|\[\]|null|true|-1|1e400|"[a-f0-9]{0,64}"|\{"kinds":\[[0-9]{1,6}\]\}|\{"#[a-z]":\["x"\]\}"##,
                0..4,
            ),
        ) {
            let text = format!("[{}]", std::iter::once(format!("{name:?}")).chain(arguments).collect::<Vec<_>>().join(","));
            if let Ok(message) = RelayMessage::parse(&text) {
                prop_assert_eq!(RelayMessage::parse(&message.to_text()), Ok(message));
            }
            if let Ok(message) = ClientMessage::parse(&text) {
                prop_assert_eq!(ClientMessage::parse(&message.to_text()), Ok(message));
            }
        }
    }

    #[test]
    fn relay_messages_round_trip() {
        let id = EventId::from_bytes([7; 32]);
        let messages = [
            RelayMessage::Ok {
                id,
                accepted: false,
                words: "blocked: no".into(),
            },
            RelayMessage::Eose {
                subscription: "a".into(),
            },
            RelayMessage::Closed {
                subscription: "a".into(),
                words: "error: x".into(),
            },
            RelayMessage::Notice {
                words: "hello".into(),
            },
            RelayMessage::Auth,
        ];
        for message in messages {
            assert_eq!(RelayMessage::parse(&message.to_text()).unwrap(), message);
        }
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        let deep = "[".repeat(100_000);
        let texts = [
            "",
            "null",
            "[]",
            "{}",
            "[1]",
            "[\"EVENT\"]",
            "[\"EVENT\",\"a\",{}]",
            "[\"OK\"]",
            "[\"OK\",\"00\",true,\"\"]",
            "[\"EOSE\"]",
            "[\"EOSE\",1]",
            "[\"WHAT\"]",
            deep.as_str(),
            "[\"REQ\",\"a\"]",
            "[\"REQ\",\"\",{}]",
            "[\"REQ\",\"a\",{\"ids\":[1]}]",
            "[\"CLOSE\"]",
        ];
        for text in texts {
            assert!(RelayMessage::parse(text).is_err(), "{text}");
            assert!(ClientMessage::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_with_a_field_twice_is_refused() {
        let hex = "00".repeat(32);
        let sig = "00".repeat(64);
        let event = format!(
            r#"{{"id":"{hex}","pubkey":"{hex}","created_at":1,"kind":1,"tags":[],"content":"a","content":"b","sig":"{sig}"}}"#
        );
        let error = ClientMessage::parse(&format!("[\"EVENT\",{event}]")).unwrap_err();
        assert!(error.to_string().contains("duplicate field"), "{error}");
    }

    #[test]
    fn a_relays_words_cannot_steer_a_terminal() {
        let text = RelayMessage::Notice {
            words: format!("a\u{1b}[31m\nb\u{202e}{}", "x".repeat(500)),
        }
        .to_text();
        let RelayMessage::Notice { words } = RelayMessage::parse(&text).unwrap() else {
            panic!("not a notice");
        };
        assert_eq!(words.chars().count(), WORDS_MAX);
        assert!(words.starts_with("a [31m b x"), "{words}");
    }
}
