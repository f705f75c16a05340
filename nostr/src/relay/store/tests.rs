//! In whatever order events come, what is kept is the same. (Not so for deletion by id: when the version that is
//! deleted came first, the one before it is gone already.)

use proptest::prelude::*;

use super::*;
use crate::key::NostrKey;
use crate::sdk::Unsigned;

/// What an author may do, small enough that every pair of it meets.
#[derive(Debug, Clone)]
enum Act {
    Write {
        author: usize,
        d: usize,
        date: u64,
    },
    DeleteSlot {
        author: usize,
        owner: usize,
        d: usize,
        date: u64,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..2_usize, 0..2_usize, 0..3_u64).prop_map(|(author, d, date)| Act::Write { author, d, date }),
        1 => (0..2_usize, 0..2_usize, 0..2_usize, 0..3_u64)
            .prop_map(|(author, owner, d, date)| Act::DeleteSlot { author, owner, d, date }),
    ]
}

fn events(acts: &[Act], keys: &[NostrKey]) -> Vec<Authentic> {
    let mut events: Vec<Authentic> = Vec::new();
    for (n, act) in acts.iter().enumerate() {
        let (author, kind, tag, date) = match act {
            Act::Write { author, d, date } => {
                (author, 30_078, ["d".to_owned(), d.to_string()], date)
            }
            Act::DeleteSlot {
                author,
                owner,
                d,
                date,
            } => {
                let slot = format!("30078:{}:{d}", keys[*owner].pubkey());
                (author, DELETION, ["a".to_owned(), slot], date)
            }
        };
        let unsigned = Unsigned {
            created_at: *date,
            kind,
            tags: vec![tag.to_vec()],
            content: n.to_string(),
        };
        events.push(keys[*author].sign(unsigned).unwrap());
    }
    events
}

/// Puts the events into a new store and returns what it keeps.
async fn kept(events: impl Iterator<Item = &Authentic>) -> Vec<StoredEvent> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("relay.db"), Limits::default())
        .await
        .unwrap();
    for event in events {
        store.insert(event).await.unwrap();
    }
    let kept = store.query(&[Filter::default()], 0).await.unwrap();
    store.close().await;
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_kept_does_not_depend_on_the_order(
        acts in prop::collection::vec(act(), 1..9),
        shuffle in any::<[u8; 9]>(),
    ) {
        let keys = [NostrKey::generate(), NostrKey::generate()];
        let events = events(&acts, &keys);
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|index| shuffle[*index]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let straight = runtime.block_on(kept(events.iter()));
        let shuffled = runtime.block_on(kept(order.iter().map(|index| &events[*index])));
        prop_assert_eq!(straight, shuffled);
    }
}
