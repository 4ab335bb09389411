//! What the host has, what was promised of it, and what is free now.

use model::ByteSize;
use model::admission::{Capacity, Overcommit, Promised};

use crate::disk;
use crate::handle::Handle;

/// A look at the host and at what its sandboxes and builds hold of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What there is.
    pub capacity: Capacity,
    /// How much more may be promised.
    pub overcommit: Overcommit,
    /// What is promised to the sandboxes that stand, those of builds included.
    pub promised: Promised,
    /// Processors promised to them.
    pub promised_cpus: u32,
    /// Memory that programs can still get.
    pub memory_available: ByteSize,
    /// Free space for sandboxes and templates.
    pub disk_free: ByteSize,
    /// Builds that clients ordered: under way,
    pub builds_active: u32,
    /// and waiting for their turn.
    pub builds_waiting: u32,
}

impl Handle {
    /// Looks at the host now.
    pub async fn room(&self) -> std::io::Result<Room> {
        let options = &self.shared.options;
        let dir = options.bulk_dir.clone();
        let now = disk::blocking(move || Ok::<_, std::io::Error>((memory_available()?, disk_free(&dir)?)));
        let (memory_available, disk_free) = now.await?;
        let (builds_active, builds_waiting) = self.build_queue();
        let (promised, promised_cpus) = {
            let ledger = self.shared.ledger();
            (ledger.promised(), ledger.cpus())
        };
        Ok(Room {
            capacity: options.capacity,
            overcommit: options.overcommit,
            promised,
            promised_cpus,
            memory_available,
            disk_free,
            builds_active,
            builds_waiting,
        })
    }
}

fn memory_available() -> std::io::Result<ByteSize> {
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    let lines = &mut meminfo.lines();
    let kib =
        lines.find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok());
    let kib: u64 = kib.ok_or_else(|| std::io::Error::other("/proc/meminfo names no MemAvailable"))?;
    Ok(ByteSize::bytes(kib.saturating_mul(1024)))
}

fn disk_free(dir: &std::path::Path) -> std::io::Result<ByteSize> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(ByteSize::bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_something_left() {
        assert!(memory_available().unwrap() > ByteSize::bytes(0));
        assert!(disk_free(std::path::Path::new("/")).unwrap() > ByteSize::bytes(0));
    }
}
