//! Proves: every store answers the same questions the same way, before and after a flush, maintenance and a reopening.
//! Guards against: two back ends that differ where the shard relies on one behaviour.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails, helpers included

mod conformance;
mod support;

use std::path::Path;

use conformance::Backend;
use tidegate_storage::Store;
use tidegate_storage::embedded::lsm::{LsmOptions, LsmStore};
use tidegate_storage::store::MemoryStore;

struct Memory(MemoryStore);

impl Backend for Memory {
    fn fresh() -> Self {
        Self(MemoryStore::new())
    }

    fn store(&mut self) -> &mut dyn Store {
        &mut self.0
    }

    /// Nothing to reopen: it survives nothing, and says so in no test.
    fn reopen(&mut self) {}
}

struct Lsm {
    directory: tempfile::TempDir,
    store: Option<LsmStore>,
}

/// A memtable of a few rows, so that every test goes through flushes, tables and compactions.
fn tiny(directory: &Path) -> LsmStore {
    let options = LsmOptions { memtable_bytes: 2000, ..LsmOptions::default() };
    LsmStore::open(directory, &options).unwrap()
}

impl Backend for Lsm {
    fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(tiny(directory.path()));
        Self { directory, store }
    }

    fn store(&mut self) -> &mut dyn Store {
        self.store.as_mut().unwrap()
    }

    fn reopen(&mut self) {
        self.store().flush().unwrap();
        self.store = None;
        self.store = Some(tiny(self.directory.path()));
    }
}

/// The usual sizes: everything stays in the memtable.
struct LsmInMemory(Lsm);

impl Backend for LsmInMemory {
    fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(LsmStore::open(directory.path(), &LsmOptions::default()).unwrap());
        Self(Lsm { directory, store })
    }

    fn store(&mut self) -> &mut dyn Store {
        self.0.store()
    }

    fn reopen(&mut self) {}
}

conformance::suite!(memory, Memory);
conformance::suite!(lsm, Lsm);
conformance::suite!(lsm_in_memory, LsmInMemory);
