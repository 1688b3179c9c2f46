//! A cache bounded by bytes; the entry used longest ago leaves first.

use std::collections::BTreeMap;

/// Keys to values that know how large they are.
pub struct ByteLru<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    by_use: BTreeMap<u64, K>,
    next_use: u64,
    bytes: usize,
    max_bytes: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    last_use: u64,
}

impl<K: Ord + Clone, V> ByteLru<K, V> {
    /// An empty cache that holds values of `max_bytes` octets together.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { entries: BTreeMap::new(), by_use: BTreeMap::new(), next_use: 0, bytes: 0, max_bytes }
    }

    /// Octets held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The value of `key`, which is thereby the most recently used.
    pub fn find(&mut self, key: &K) -> Option<&V> {
        let entry = self.entries.get_mut(key)?;
        self.by_use.remove(&entry.last_use);
        entry.last_use = self.next_use;
        self.by_use.insert(self.next_use, key.clone());
        self.next_use += 1;
        Some(&entry.value)
    }

    /// Puts a value in; one larger than the whole cache is not kept.
    pub fn insert(&mut self, key: K, value: V, bytes: usize) {
        self.remove(&key);
        if bytes > self.max_bytes {
            return;
        }
        while self.bytes + bytes > self.max_bytes {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.bytes;
            }
        }
        self.by_use.insert(self.next_use, key.clone());
        self.entries.insert(key, Entry { value, bytes, last_use: self.next_use });
        self.bytes += bytes;
        self.next_use += 1;
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.by_use.remove(&entry.last_use);
        self.bytes -= entry.bytes;
        Some(entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(lru: &mut ByteLru<&'static str, i32>, key: &'static str) -> Option<i32> {
        lru.find(&key).copied()
    }

    #[test]
    fn the_entry_used_longest_ago_leaves_first() {
        let mut lru = ByteLru::new(30);
        lru.insert("a", 1, 10);
        lru.insert("b", 2, 10);
        lru.insert("c", 3, 10);
        assert_eq!(find(&mut lru, "a"), Some(1));
        lru.insert("d", 4, 15);
        assert_eq!((find(&mut lru, "b"), find(&mut lru, "c")), (None, None));
        assert_eq!((find(&mut lru, "a"), find(&mut lru, "d")), (Some(1), Some(4)));
        assert_eq!(lru.bytes(), 25);
    }

    #[test]
    fn a_value_larger_than_the_cache_displaces_nothing() {
        let mut lru = ByteLru::new(30);
        lru.insert("a", 1, 10);
        lru.insert("huge", 2, 31);
        assert_eq!((find(&mut lru, "a"), find(&mut lru, "huge"), lru.bytes()), (Some(1), None, 10));
    }

    #[test]
    fn a_new_value_replaces_the_old_and_its_size() {
        let mut lru = ByteLru::new(30);
        lru.insert("a", 1, 20);
        lru.insert("a", 2, 5);
        assert_eq!((find(&mut lru, "a"), lru.bytes()), (Some(2), 5));
        assert_eq!((lru.remove(&"a"), lru.bytes()), (Some(2), 0));
    }
}
