//! Many rows in few statements.

use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::StoreError;

/// How many rows a statement may have, most first: few texts, each of which is prepared once.
const ROWS_AT_ONCE: [usize; 4] = [128, 32, 8, 1];

/// Executes `head VALUES (…), (…) tail` until all rows are in; `bind` binds the columns of one. Needs a transaction
/// that is given up when this fails: rows may be in then.
pub(super) async fn insert<T>(
    connection: &mut SqliteConnection,
    head: &str,
    rows: &[T],
    tail: &str,
    bind: impl Fn(Separated<'_, Sqlite, &'static str>, &T),
) -> Result<(), StoreError> {
    for rows in parts(rows) {
        let mut insert = statement(head, rows, &bind);
        insert.push(tail);
        insert.build().execute(&mut *connection).await?;
    }
    Ok(())
}

/// Asks `head VALUES (…), (…) tail` about all rows; returns what each statement answers, one text. `bind` binds the
/// columns of a row, `tail` writes the rest.
pub(super) async fn ask<T>(
    connection: &mut SqliteConnection,
    head: &str,
    rows: &[T],
    bind: impl Fn(Separated<'_, Sqlite, &'static str>, &T),
    tail: impl Fn(&mut QueryBuilder<Sqlite>),
) -> Result<Vec<String>, StoreError> {
    let mut answers = Vec::new();
    for rows in parts(rows) {
        let mut question = statement(head, rows, &bind);
        tail(&mut question);
        let answer = question.build_query_scalar();
        answers.push(answer.fetch_one(&mut *connection).await?);
    }
    Ok(answers)
}

fn statement<T>(
    head: &str,
    rows: &[T],
    bind: &impl Fn(Separated<'_, Sqlite, &'static str>, &T),
) -> QueryBuilder<Sqlite> {
    let mut statement = QueryBuilder::new(head);
    statement.push(" ");
    statement.push_values(rows, bind);
    statement
}

/// Cuts rows into parts of the sizes that statements have.
fn parts<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = ROWS_AT_ONCE.into_iter().find(|size| *size <= rows.len())?;
        let (part, rest) = rows.split_at(size);
        rows = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_the_sizes_of_statements_and_every_row_once() {
        for count in [0, 1, 7, 8, 9, 31, 127, 128, 129, 512, 1000] {
            let rows: Vec<usize> = (0..count).collect();
            let parts: Vec<&[usize]> = parts(&rows).collect();
            assert_eq!(parts.concat(), rows);
            assert!(parts.iter().all(|part| ROWS_AT_ONCE.contains(&part.len())));
            assert!(parts.len() <= count / 128 + 3 + 3 + 7);
        }
    }
}
