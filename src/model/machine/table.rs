//! A map that can take back its changes, so that an entry is applied whole or not at all.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use serde::{Deserialize, Serialize};

/// An ordered map with an undo list. Outside of [`super::Model::apply`] the undo list is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize, V: Serialize",
    deserialize = "K: Deserialize<'de>, V: Deserialize<'de>"
))]
pub(super) struct Table<K: Ord, V> {
    rows: BTreeMap<K, V>,
    #[serde(skip)]
    undo: Vec<(K, Option<V>)>,
}

/// A set is a table of nothing.
pub(super) type Set<K> = Table<K, ()>;

impl<K: Ord, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            undo: Vec::new(),
        }
    }
}

impl<K: Ord + Copy, V> Table<K, V> {
    pub fn get(&self, key: K) -> Option<&V> {
        self.rows.get(&key)
    }

    pub fn has(&self, key: K) -> bool {
        self.rows.contains_key(&key)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (K, &V)> {
        self.rows.iter().map(|(key, value)| (*key, value))
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = K> {
        self.rows.keys().copied()
    }

    pub fn range(&self, keys: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (K, &V)> {
        self.rows.range(keys).map(|(key, value)| (*key, value))
    }

    pub fn insert(&mut self, key: K, value: V) {
        let old = self.rows.insert(key, value);
        self.undo.push((key, old));
    }

    pub fn remove(&mut self, key: K) {
        if let Some(old) = self.rows.remove(&key) {
            self.undo.push((key, Some(old)));
        }
    }

    /// What was done stays.
    pub fn keep(&mut self) {
        self.undo.clear();
    }

    /// What was done since the last `keep` is undone.
    pub fn take_back(&mut self) {
        while let Some((key, old)) = self.undo.pop() {
            match old {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_back_restores_each_row() {
        let mut table = Table::default();
        table.insert(1, "one");
        table.insert(2, "two");
        table.keep();
        let before = table.clone();
        table.insert(1, "uno");
        table.remove(2);
        table.insert(3, "three");
        table.insert(1, "ein");
        table.remove(9);
        table.take_back();
        assert_eq!(table, before);
    }
}
