//! Measurements that only the whole server has: of the proxy, and of the files
//! of the database.

use std::path::PathBuf;
use std::sync::Arc;

use control::Gauges;
use proxy::Counts;
use wire::exposition::{Family, Kind, count};

/// Measurements of the parts beside the control plane.
#[derive(Debug)]
pub(crate) struct Parts {
    counts: Arc<Counts>,
    database: PathBuf,
}

impl Parts {
    pub(crate) fn new(counts: Arc<Counts>, database: PathBuf) -> Self {
        Self { counts, database }
    }

    /// Size of the database's file, or of its log of writes.
    fn size(&self, suffix: &str) -> u64 {
        let mut file = self.database.clone().into_os_string();
        file.push(suffix);
        std::fs::metadata(file).map_or(0, |metadata| metadata.len())
    }
}

impl Gauges for Parts {
    fn families(&self) -> Vec<Family> {
        let mut families = self.counts.families();
        let sizes = Family::new("warren_store_bytes", Kind::Gauge, "Size of the database on disk.");
        families.push(
            sizes
                .with(&[("file", "database")], count(self.size("")))
                .with(&[("file", "write_ahead_log")], count(self.size("-wal"))),
        );
        let build = Family::new("warren_build_info", Kind::Gauge, "Always 1; the labels tell the version.");
        families.push(build.with(&[("version", env!("CARGO_PKG_VERSION"))], 1.0));
        families
    }
}
