//! Which words of the texts begin as typed ones do: apps that have a whole word are met one after the other, until
//! there are enough, while for a beginning those of all its words are merged first, a third of the catalog at worst.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use crate::store::{StoreError, answer, json};

/// Words that a beginning is replaced by; one that begins more stays a beginning.
const WORDS_MAX: usize = 6;

/// What is in the texts of typed words.
#[derive(Debug)]
pub(super) struct Vocabulary(HashMap<String, Vec<String>>);

/// What a typed word begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun<'a> {
    /// These words, none when no text has any.
    Words(&'a [String]),
    /// More words than are listed, or a word that was not looked up.
    Unlisted,
}

// From each word to the next: no word has a letter that comes before those that may follow a beginning.
const WORDS: &str = "WITH RECURSIVE begun (typed, place, word) AS (
        SELECT value, 0, (SELECT term FROM text_words
                          WHERE term >= value AND term < value || char(0x10ffff) LIMIT 1) FROM json_each(?1)
        UNION ALL
        SELECT typed, place + 1, (SELECT term FROM text_words
                                  WHERE term >= word || char(1) AND term < typed || char(0x10ffff) LIMIT 1)
        FROM begun WHERE word IS NOT NULL AND place < ?2)
    SELECT json_group_array(json_array(typed, word)) FROM begun WHERE word IS NOT NULL";

impl Vocabulary {
    /// Looks up what words begin. Only those in ASCII: they are spelled as they are indexed.
    pub(super) async fn of(
        connection: &mut SqliteConnection,
        words: impl Iterator<Item = &String>,
    ) -> Result<Self, StoreError> {
        let mut vocabulary: HashMap<String, Vec<String>> = words
            .filter(|word| word.is_ascii())
            .map(|word| (word.clone(), Vec::new()))
            .collect();
        if vocabulary.is_empty() {
            return Ok(Self(vocabulary));
        }
        let typed: Vec<&String> = vocabulary.keys().collect();
        let words: String = sqlx::query_scalar(WORDS)
            .bind(json(&typed))
            .bind(i64::try_from(WORDS_MAX).unwrap_or(i64::MAX))
            .fetch_one(connection)
            .await?;
        let words: Vec<(String, String)> = answer("words", &words)?;
        for (typed, word) in words {
            vocabulary.entry(typed).or_default().push(word);
        }
        Ok(Self(vocabulary))
    }

    pub(super) fn begun(&self, word: &str) -> Begun<'_> {
        match self.0.get(word) {
            Some(words) if words.len() <= WORDS_MAX => Begun::Words(words),
            Some(_) | None => Begun::Unlisted,
        }
    }

    /// Writes words, each with what it may mean, as an FTS5 query: one meaning of every word must start a word.
    /// Words have only letters and digits, so that nothing of them is syntax.
    pub(super) fn query(&self, words: &[Vec<String>]) -> String {
        let mut queries = Vec::with_capacity(words.len());
        for meanings in words {
            let mut terms = Vec::with_capacity(meanings.len());
            for word in meanings {
                match self.begun(word) {
                    Begun::Words(words) => {
                        terms.extend(words.iter().map(|word| format!("\"{word}\"")));
                    }
                    Begun::Unlisted => terms.push(format!("\"{word}\"*")),
                }
            }
            if terms.is_empty() {
                return NOTHING.to_owned();
            }
            queries.push(format!("({})", terms.join(" OR ")));
        }
        queries.join(" AND ")
    }
}

/// A query that finds nothing.
const NOTHING: &str = "\"\"";
