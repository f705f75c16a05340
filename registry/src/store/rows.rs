//! Many rows in few statements.

use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::StoreError;

/// Rows in a statement. Its text is the same for every full one, so that it is prepared once.
const ROWS_AT_ONCE: usize = 64;

/// Executes `head VALUES (…), (…) tail` until all rows are in; `bind` binds the columns of one.
pub(super) async fn insert<T>(
    connection: &mut SqliteConnection,
    head: &str,
    rows: &[T],
    tail: &str,
    bind: impl Fn(Separated<'_, Sqlite, &'static str>, &T),
) -> Result<(), StoreError> {
    for rows in rows.chunks(ROWS_AT_ONCE) {
        let mut insert = QueryBuilder::<Sqlite>::new(format!("{head} "));
        insert.push_values(rows, &bind);
        insert.push(tail);
        insert
            .build()
            .persistent(rows.len() == ROWS_AT_ONCE)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
