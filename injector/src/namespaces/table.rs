//! Objects of one kind, as a watch tells of them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use kube::runtime::watcher::Event;

/// Which object; of an object that belongs to no namespace, that is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    namespace: String,
    name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn of_cluster(name: &str) -> Self {
        Self::new("", name)
    }
}

/// What is held of each object. One watch writes, reviews read.
#[derive(Debug)]
pub(crate) struct Table<V>(RwLock<Held<V>>);

#[derive(Debug)]
struct Held<V> {
    current: BTreeMap<Key, V>,
    /// A new list that is still being told. It takes the place of the current one as a whole: objects that went
    /// while nobody watched are in no event of their own.
    next: Option<BTreeMap<Key, V>>,
    is_complete: bool,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(RwLock::new(Held {
            current: BTreeMap::new(),
            next: None,
            is_complete: false,
        }))
    }
}

impl<V: Clone> Table<V> {
    pub(crate) fn take(&self, event: Event<(Key, V)>) {
        // A panic elsewhere leaves no half-written map behind.
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => held.next = Some(BTreeMap::new()),
            Event::InitApply((key, value)) => {
                held.next.get_or_insert_default().insert(key, value);
            }
            Event::InitDone => {
                held.current = held.next.take().unwrap_or_default();
                held.is_complete = true;
            }
            Event::Apply((key, value)) => {
                held.current.insert(key, value);
            }
            Event::Delete((key, _)) => {
                held.current.remove(&key);
            }
        }
    }

    /// Whether a list was told to its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.read(|held| held.is_complete)
    }

    pub(crate) fn find(&self, key: &Key) -> Option<V> {
        self.read(|held| held.current.get(key).cloned())
    }

    /// All objects of a namespace.
    pub(crate) fn of(&self, namespace: &str) -> Vec<V> {
        let first = Key::new(namespace, "");
        self.read(|held| {
            let from = held
                .current
                .range((Bound::Included(first), Bound::Unbounded));
            from.take_while(|(key, _)| key.namespace == namespace)
                .map(|(_, value)| value.clone())
                .collect()
        })
    }

    /// The names of the objects that are as asked.
    pub(crate) fn names(&self, is_meant: impl Fn(&V) -> bool) -> Vec<String> {
        self.read(|held| {
            let meant = held.current.iter().filter(|(_, value)| is_meant(value));
            meant.map(|(key, _)| key.name.clone()).collect()
        })
    }

    fn read<T>(&self, read: impl FnOnce(&Held<V>) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: u8) -> (Key, u8) {
        (Key::new("shop", name), value)
    }

    #[test]
    fn a_new_list_replaces_the_old_one_at_its_end() {
        let table = Table::default();
        for event in [
            Event::Init,
            Event::InitApply(one("a", 1)),
            Event::InitApply(one("b", 2)),
        ] {
            table.take(event);
        }
        assert!(!table.is_complete());
        assert!(table.of("shop").is_empty());
        table.take(Event::InitDone);
        assert!(table.is_complete());
        assert_eq!(table.of("shop"), [1, 2]);

        // After a watch that expired: `b` went meanwhile.
        table.take(Event::Init);
        table.take(Event::InitApply(one("a", 3)));
        assert_eq!(table.of("shop"), [1, 2]);
        assert!(table.is_complete());
        table.take(Event::InitDone);
        assert_eq!(table.of("shop"), [3]);

        table.take(Event::Apply(one("c", 4)));
        table.take(Event::Delete(one("a", 3)));
        assert_eq!(table.find(&Key::new("shop", "c")), Some(4));
        assert_eq!(table.find(&Key::new("shop", "a")), None);
        assert_eq!(table.names(|value| *value == 4), ["c"]);
        assert!(table.of("sho").is_empty());
    }
}
