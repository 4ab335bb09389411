//! The records that ended sandboxes leave: `<state>/ended/<id>.json`, bounded in
//! number and in age, all of them in memory too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use model::{ByteSize, OomVictim, Peaks, SandboxId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Ended, disk};

const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct OnDisk {
    format: u32,
    sandbox_id: String,
    cause: String,
    started_at: Option<i64>,
    ended_at: i64,
    memory_bytes: u64,
    disk_bytes: u64,
    cpu_micros: u64,
    oom_kills: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    oom_victims: Vec<VictimOnDisk>,
}

#[derive(Debug, Serialize, Deserialize)]
struct VictimOnDisk {
    pid: u32,
    name: String,
    user: String,
    at: i64,
    itself: bool,
}

impl VictimOnDisk {
    fn of(OomVictim { pid, name, user, at, itself }: &OomVictim) -> Self {
        Self { pid: *pid, name: name.clone(), user: user.clone(), at: at.unix_micros(), itself: *itself }
    }

    fn into_victim(self) -> OomVictim {
        let Self { pid, name, user, at, itself } = self;
        OomVictim { pid, name, user, at: Timestamp::from_unix_micros(at), itself }
    }
}

impl OnDisk {
    fn of(ended: &Ended) -> Self {
        Self {
            format: FORMAT,
            sandbox_id: ended.sandbox_id.to_string(),
            cause: ended.cause.to_string(),
            started_at: ended.started_at.map(Timestamp::unix_micros),
            ended_at: ended.ended_at.unix_micros(),
            memory_bytes: ended.peaks.memory.as_u64(),
            disk_bytes: ended.peaks.disk.as_u64(),
            cpu_micros: ended.peaks.cpu_micros,
            oom_kills: ended.peaks.oom_kills,
            oom_victims: ended.oom_victims.iter().map(VictimOnDisk::of).collect(),
        }
    }

    fn into_ended(self) -> Option<Ended> {
        if self.format > FORMAT {
            return None;
        }
        Some(Ended {
            sandbox_id: self.sandbox_id.parse().ok()?,
            cause: self.cause.parse().ok()?,
            started_at: self.started_at.map(Timestamp::from_unix_micros),
            ended_at: Timestamp::from_unix_micros(self.ended_at),
            peaks: Peaks {
                memory: ByteSize::bytes(self.memory_bytes),
                disk: ByteSize::bytes(self.disk_bytes),
                cpu_micros: self.cpu_micros,
                oom_kills: self.oom_kills,
            },
            oom_victims: self.oom_victims.into_iter().map(VictimOnDisk::into_victim).collect(),
        })
    }
}

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<SandboxId, Ended>,
    by_age: BTreeSet<(Timestamp, SandboxId)>,
}

impl Index {
    fn insert(&mut self, ended: Ended) {
        let key = (ended.ended_at, ended.sandbox_id.clone());
        if let Some(old) = self.by_id.insert(ended.sandbox_id.clone(), ended) {
            self.by_age.remove(&(old.ended_at, old.sandbox_id));
        }
        self.by_age.insert(key);
    }

    /// Takes out what is too many or too old.
    fn pop_surplus(&mut self, count: usize, oldest: Timestamp) -> Vec<SandboxId> {
        let mut gone = Vec::new();
        while let Some((at, _)) = self.by_age.first()
            && (self.by_age.len() > count || *at < oldest)
            && let Some((_, sandbox_id)) = self.by_age.pop_first()
        {
            self.by_id.remove(&sandbox_id);
            gone.push(sandbox_id);
        }
        gone
    }
}

/// All end records.
#[derive(Debug)]
pub(crate) struct EndedRecords {
    dir: PathBuf,
    count: usize,
    age: Duration,
    index: Mutex<Index>,
}

impl EndedRecords {
    /// Reads the directory; files that cannot be read are passed over and said.
    pub(crate) fn load(dir: PathBuf, count: usize, age: Duration) -> Result<Self, disk::Error> {
        disk::ensure_dir(&dir)?;
        let mut index = Index::default();
        for path in disk::list_dir(&dir)?.iter().filter(|path| path.extension().is_some_and(|e| e == "json"))
        {
            match disk::read_json::<OnDisk>(path).map(OnDisk::into_ended) {
                Ok(Some(ended)) => index.insert(ended),
                Ok(None) => tracing::warn!(path = %path.display(), "an end record of another version"),
                Err(e) => tracing::warn!(path = %path.display(), error = %e, "an end record is damaged"),
            }
        }
        Ok(Self { dir, count, age, index: Mutex::new(index) })
    }

    pub(crate) fn get(&self, sandbox_id: &SandboxId) -> Option<Ended> {
        self.lock().by_id.get(sandbox_id).cloned()
    }

    /// Knows a record, in memory alone: for an end whose remains keep its file from being written.
    pub(crate) fn know(&self, ended: Ended) {
        self.lock().insert(ended);
    }

    /// Keeps a record, on disk (and in any case in memory), and drops the
    /// surplus. Blocks on files.
    pub(crate) fn keep(&self, ended: Ended) -> Result<(), disk::Error> {
        let written = disk::write_json(&self.path(&ended.sandbox_id), &OnDisk::of(&ended));
        let oldest = ended.ended_at - self.age;
        let surplus = {
            let mut index = self.lock();
            index.insert(ended);
            index.pop_surplus(self.count, oldest)
        };
        let dropped = surplus.iter().try_for_each(|sandbox_id| disk::remove_file(&self.path(sandbox_id)));
        written.and(dropped)
    }

    fn path(&self, sandbox_id: &SandboxId) -> PathBuf {
        self.dir.join(format!("{sandbox_id}.json"))
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use model::{EndCause, KilledBy};

    use super::*;

    fn ended(n: i64) -> Ended {
        Ended {
            sandbox_id: format!("i{n}").parse().unwrap(),
            cause: EndCause::Killed(KilledBy::Client),
            started_at: Some(Timestamp::from_unix_micros(1)),
            ended_at: Timestamp::from_unix_micros(n * 1_000_000),
            peaks: Peaks { memory: ByteSize::mib(3), oom_kills: 2, ..Peaks::default() },
            oom_victims: vec![OomVictim {
                pid: 7,
                name: "python3".to_owned(),
                user: "user".to_owned(),
                at: Timestamp::from_unix_micros(n),
                itself: true,
            }],
        }
    }

    #[test]
    fn records_come_back_and_stay_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let load = || EndedRecords::load(dir.path().join("ended"), 3, Duration::from_secs(10)).unwrap();
        let records = load();
        (1..=5).for_each(|n| records.keep(ended(n)).unwrap());
        let again = load();
        for records in [&records, &again] {
            assert_eq!(records.get(&ended(2).sandbox_id), None);
            assert_eq!(records.get(&ended(4).sandbox_id), Some(ended(4)));
        }
        again.keep(ended(15)).unwrap();
        assert_eq!(again.get(&ended(4).sandbox_id), None, "older than ten seconds");
        assert_eq!(disk::list_dir(&dir.path().join("ended")).unwrap().len(), 2);
    }
}
