//! A proxy that applies what it is sent holds exactly what it should.

use proptest::prelude::*;

use super::*;

fn object(name: &str, content: u8) -> Arc<Object> {
    Arc::new(Object {
        name: name.into(),
        digest: vec![content],
        body: None,
    })
}

/// Applies a message as a proxy does: only on the base that it is at.
fn apply(held: &mut BTreeMap<String, Vec<u8>>, at: &mut u64, response: &WatchResponse) {
    assert_eq!(response.base, *at);
    assert!(response.revision > response.base);
    *at = response.revision;
    for object in &response.changed {
        held.insert(object.name.clone(), object.digest.clone());
    }
    for name in &response.removed {
        assert!(held.remove(name).is_some());
    }
}

#[test]
fn the_first_answer_comes_even_if_nothing_changed() {
    let mut channel = Channel::new(wire::Channel::Rules, &[]);
    assert_eq!(channel.difference(&[], 5).len(), 1);
    assert!(channel.difference(&[], 6).is_empty());
}

#[test]
fn revisions_grow_where_the_clock_does_not() {
    let inventory = wire::Inventory {
        channel: wire::Channel::Rules.into(),
        revision: 1000,
        objects: Vec::new(),
    };
    let mut channel = Channel::new(wire::Channel::Rules, &[inventory]);
    let answer = channel.difference(&[object("a", 1)], 7).swap_remove(0);
    assert_eq!((answer.base, answer.revision), (1000, 1001));
    let answer = channel.difference(&[object("a", 2)], 5000).swap_remove(0);
    assert_eq!((answer.base, answer.revision), (1001, 5000));
}

#[test]
fn a_long_difference_is_cut_and_removals_come_last() {
    let inventory = wire::Inventory {
        channel: wire::Channel::Rules.into(),
        revision: 1,
        objects: vec![wire::Held {
            name: "old".into(),
            digest: vec![0],
        }],
    };
    let mut channel = Channel::new(wire::Channel::Rules, &[inventory]);
    let long = |name: &str| {
        Arc::new(Object {
            name: name.into(),
            digest: vec![1; MAX_PIECE_BYTES / 2],
            body: None,
        })
    };
    let pieces = channel.difference(&[long("a"), long("b"), long("c")], 9);
    assert!(pieces.len() > 1);
    assert!(
        pieces
            .iter()
            .all(|p| p.encoded_len() <= MAX_PIECE_BYTES + 64)
    );
    let (last, before) = pieces.split_last().unwrap();
    assert_eq!(last.removed, ["old"]);
    assert!(before.iter().all(|piece| piece.removed.is_empty()));
    assert!(pieces.windows(2).all(|two| two[1].base == two[0].revision));
}

proptest! {
    #[test]
    fn differences_lead_to_what_is_wanted(
        held in prop::collection::btree_map("[a-f]", 0..3_u8, 0..6),
        steps in prop::collection::vec(prop::collection::btree_map("[a-f]", 0..3_u8, 0..6), 1..6),
    ) {
        let mut at = 17;
        let objects = held
            .iter()
            .map(|(name, content)| wire::Held { name: name.clone(), digest: vec![*content] })
            .collect();
        let channel = wire::Channel::Addresses;
        let inventory = wire::Inventory { channel: channel.into(), revision: at, objects };
        let mut control = Channel::new(channel, &[inventory]);
        let mut proxy = held.into_iter().map(|(name, content)| (name, vec![content])).collect();
        for wanted in steps {
            let objects: Vec<_> = wanted.iter().map(|(name, content)| object(name, *content)).collect();
            for response in control.difference(&objects, 3) {
                apply(&mut proxy, &mut at, &response);
            }
            let wanted: BTreeMap<_, _> = wanted.into_iter().map(|(name, content)| (name, vec![content])).collect();
            prop_assert_eq!(&proxy, &wanted);
            prop_assert_eq!(at, control.revision());
        }
    }
}
