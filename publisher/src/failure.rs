//! Why a command did not do what it was asked, for people and for programs, and the exit code it ends with.

use serde::Serialize;

mod from;
mod machine;

/// What sort of failure it is; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Something did not work: exit code 1.
    Failed,
    /// The command line makes no sense: exit code 2.
    Usage,
    /// A check said no: signature, manifest, policy: exit code 3.
    Refused,
    /// The node does not answer: exit code 4.
    Unreachable,
    /// There is no such app, job or image: exit code 5.
    NotFound,
}

impl Class {
    /// Returns the exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::NotFound => 5,
        }
    }
}

/// A failure: one sentence, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// A stable name for programs, e.g. `noIdentity`.
    pub kind: String,
    /// What went wrong, in words.
    pub error: String,
    /// What to do next.
    pub hints: Vec<String>,
    /// Hashes, log lines and the like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What sort it is.
    #[serde(skip)]
    pub class: Class,
}

impl Failure {
    /// Makes a failure of a class.
    pub fn new(class: Class, kind: &str, error: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            error: error.into(),
            hints: Vec::new(),
            details: Vec::new(),
            class,
        }
    }

    /// Something did not work.
    pub fn failed(kind: &str, error: impl Into<String>) -> Self {
        Self::new(Class::Failed, kind, error)
    }

    /// A check said no.
    pub fn refused(kind: &str, error: impl Into<String>) -> Self {
        Self::new(Class::Refused, kind, error)
    }

    /// There is no such thing.
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(Class::NotFound, "notFound", error)
    }

    /// The command line asks for something that makes no sense.
    pub fn usage(error: impl Into<String>) -> Self {
        Self::new(Class::Usage, "usage", error)
    }

    /// A file could not be used.
    pub fn file(what: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        let class = if source.kind() == std::io::ErrorKind::NotFound {
            Class::NotFound
        } else {
            Class::Failed
        };
        Self::new(
            class,
            "file",
            format!("cannot {what} {}: {source}", path.display()),
        )
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Writes an error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
