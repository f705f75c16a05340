//! What a misspelt word may mean: words of names that differ from it in a letter or two.

use sqlx::SqliteConnection;
use strsim::osa_distance;

use super::vocabulary::{Begun, Vocabulary};
use crate::store::{StoreError, json};

/// Words that share the most letter groups with a misspelt one and are compared with it letter by letter.
const COMPARED_MAX: u32 = 400;
/// Meanings of one word that are looked for.
const MEANINGS_MAX: usize = 4;
/// Shortest word, in characters, that is taken for a misspelling.
const CHARS_MIN: usize = 4;
/// Words from this length on, in characters, may have two wrong letters.
const CHARS_TWO_WRONG: usize = 8;

/// Returns what each word may mean, best first; `None` when no word is taken for a misspelling.
pub(super) async fn correct(
    connection: &mut SqliteConnection,
    words: &[String],
    known: &Vocabulary,
) -> Result<Option<Vec<Vec<String>>>, StoreError> {
    let mut corrected = false;
    let mut alternatives = Vec::with_capacity(words.len());
    for word in words {
        let mut meanings = vec![word.clone()];
        let is_known = match known.begun(word) {
            Begun::Words(words) => !words.is_empty(),
            Begun::Unlisted => is_known(&mut *connection, word).await?,
        };
        if word.chars().count() >= CHARS_MIN && !is_known {
            let similar = similar(&mut *connection, word).await?;
            let closest = closest(word, similar.split_whitespace());
            if !closest.is_empty() {
                corrected = true;
                meanings = closest;
            }
        }
        alternatives.push(meanings);
    }
    Ok(corrected.then_some(alternatives))
}

async fn is_known(connection: &mut SqliteConnection, word: &str) -> Result<bool, StoreError> {
    Ok(
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM app_texts WHERE app_texts MATCH ?)")
            .bind(format!("\"{word}\"*"))
            .fetch_one(connection)
            .await?,
    )
}

/// Returns the words of names that share the most groups of three letters with `word`, separated by blanks.
async fn similar(connection: &mut SqliteConnection, word: &str) -> Result<String, StoreError> {
    Ok(sqlx::query_scalar(
        // A number bound as the limit would have the statement prepared anew each time.
        "SELECT IFNULL(group_concat(w.word, ' '), '') FROM (
             SELECT t.rowid AS id FROM json_each(?) g
             CROSS JOIN name_trigrams t ON t.name_trigrams MATCH '\"' || g.value || '\"'
             GROUP BY 1 ORDER BY COUNT(*) DESC, 1 LIMIT CAST(? AS INTEGER)) JOIN name_words w USING (id)",
    )
    .bind(json(&trigrams(word)))
    .bind(COMPARED_MAX)
    .fetch_one(connection)
    .await?)
}

/// Lists the groups of three letters of a word; a blank stands for its beginning and its end. Of a short word
/// two exchanged letters leave no group whole, so that those of every exchange are listed too.
fn trigrams(word: &str) -> Vec<String> {
    let chars: Vec<char> = [' '].into_iter().chain(word.chars()).chain([' ']).collect();
    let mut spellings = vec![chars.clone()];
    if chars.len() - 2 < CHARS_TWO_WRONG {
        spellings.extend((1..chars.len() - 2).map(|at| {
            let mut exchanged = chars.clone();
            exchanged.swap(at, at + 1);
            exchanged
        }));
    }
    let mut groups: Vec<String> = spellings
        .iter()
        .flat_map(|chars| chars.windows(3).map(|group| group.iter().collect()))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Returns the candidates that differ least from `word` or, since it may be unfinished, begin with what
/// differs least from it.
fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let length = word.chars().count();
    let wrong_max = if length >= CHARS_TWO_WRONG { 2 } else { 1 };
    let mut close: Vec<(usize, usize, &str)> = candidates
        .filter_map(|candidate| {
            let rest = candidate.chars().count().saturating_sub(length);
            let beginnings = (length.saturating_sub(1)..=length + 1)
                .map(|chars| candidate.chars().take(chars).collect::<String>());
            let wrong = beginnings
                .map(|beginning| osa_distance(word, &beginning))
                .chain([osa_distance(word, candidate)])
                .min()?;
            (wrong <= wrong_max).then_some((wrong, rest, candidate))
        })
        .collect();
    close.sort_unstable();
    let fewest = close.first().map_or(0, |(wrong, ..)| *wrong);
    close
        .into_iter()
        .take_while(|(wrong, ..)| *wrong == fewest)
        .take(MEANINGS_MAX)
        .map(|(.., candidate)| candidate.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_differ_in_a_letter_or_two_are_meant() {
        let names = [
            "jellyfin",
            "jellyseerr",
            "nextcloud",
            "bitcoin",
            "plex",
            "immich",
            "photoprism",
        ];
        for (typed, meant) in [
            ("jelyfin", &["jellyfin"] as &[&str]),
            ("jelyf", &["jellyfin"]),
            ("nextcluod", &["nextcloud"]),
            ("mextclaud", &["nextcloud"]),
            ("bitcon", &["bitcoin"]),
            ("plax", &["plex"]),
            ("imich", &["immich"]),
            ("fotoprism", &["photoprism"]),
            ("wireguard", &[]),
            ("plx", &["plex"]),
        ] {
            assert_eq!(closest(typed, names.into_iter()), meant, "{typed}");
        }
    }

    #[test]
    fn groups_mark_the_ends_of_a_word() {
        let groups = trigrams("wireguard");
        assert_eq!(groups.len(), 9);
        assert!(groups.contains(&" wi".to_owned()) && groups.contains(&"rd ".to_owned()));
        let shared = |typed: &str, meant: &str| {
            let groups = trigrams(typed);
            trigrams(meant).iter().any(|group| groups.contains(group))
        };
        assert!(shared("bolg", "blog") && shared("tniy", "tiny"));
    }
}
