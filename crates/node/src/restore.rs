//! The start of a node: everything is made again from what is on disk.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{EndCause, SandboxId, Slot};
use tokio::sync::oneshot;

use crate::boot::Boot;
use crate::driver::Driver;
use crate::ended::EndedRecords;
use crate::error::chain;
use crate::generation::{Shelf, sweep};
use crate::record::Refused;
use crate::record::{Record, Unusable};
use crate::shared::{Entry, Shared};
use crate::spares::Spares;
use crate::template::Templates;
use crate::{NodeOptions, disk};

/// The node cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct OpenError(#[from] disk::Error);

/// Opens a node; see [`crate::Handle::open`].
pub(crate) async fn open(options: NodeOptions) -> Result<(Arc<Shared>, Vec<Refused>), OpenError> {
    let layers_dir = options.layers_dir();
    disk::blocking(move || disk::ensure_dir(&layers_dir)).await?;
    crate::build::clean_layers(&options).await?;
    let Read { shared, dirs, rung, in_order, boot } = disk::blocking(move || read(options)).await?;
    let mut refused = Vec::new();
    let mut settled = Vec::new();
    for dir in dirs {
        let read = disk::blocking({
            let dir = dir.clone();
            move || Record::read(&dir)
        });
        match read.await {
            Ok(record) => settled.extend(adopt(&shared, record)),
            Err(reason) if boot.is_new() && is_lost(&dir, &reason).await => {
                tracing::warn!(dir = %dir.display(), "a sandbox ended with its host, which had not written it down yet");
                let lost = id_of(&dir).map(|id| Record::lost(&id, shared.options.clock.now()));
                settled.extend(lost.and_then(|lost| adopt(&shared, lost)));
            }
            Err(reason) => refused.extend(refuse(&shared, dir, reason).await),
        }
    }
    // Each is answered by being dropped; the drivers bound their looks.
    for answer in settled {
        let _ = answer.await;
    }
    disk::blocking(move || boot.note()).await?;
    sweep::start(&shared, rung, &refused);
    disk::blocking({
        let shared = Arc::clone(&shared);
        move || crate::build::clearing::resume(&shared)
    })
    .await?;
    if !in_order {
        crate::build::verify::after_a_crash(&shared);
    }
    Ok((shared, refused))
}

struct Read {
    shared: Arc<Shared>,
    /// Of sandboxes.
    dirs: Vec<PathBuf>,
    /// Rings when generations may have to be removed.
    rung: tokio::sync::mpsc::Receiver<()>,
    /// Whether the server before this one left in order.
    in_order: bool,
    boot: Boot,
}

fn read(options: NodeOptions) -> Result<Read, disk::Error> {
    let (sandboxes, layers) = (options.sandboxes_dir(), options.layers_dir());
    for dir in [&options.state_dir, &sandboxes, &layers] {
        disk::ensure_dir(dir)?;
    }
    crate::build::clean(&options)?;
    let boot = Boot::look(&options.state_dir)?;
    let in_order = crate::build::verify::enter(&options)?;
    let (shelf, rung) = Shelf::open(options.generations_dir())?;
    let cache = crate::build::Cache::open(&options)?;
    let templates = Templates::load(options.state_dir.join("templates"), &layers, &shelf)?;
    let limits = options.limits;
    let ended = EndedRecords::load(options.state_dir.join("ended"), limits.ended_count, limits.ended_age)?;
    let dirs = disk::list_dir(&sandboxes)?;
    let spares = Spares::open(options.spare_dir(), options.clock.now())?;
    let shared = Arc::new(Shared::new(options, templates, cache, ended, shelf, spares));
    Ok(Read { shared, dirs, rung, in_order, boot })
}

/// Makes the driver of a recorded sandbox.
fn adopt(shared: &Arc<Shared>, record: Record) -> Option<oneshot::Receiver<()>> {
    // Both were parsed when the record was read.
    let id: model::SandboxId = record.sandbox_id.parse().ok()?;
    let build_id = record.build_id.parse().ok()?;
    if !record.is_parked() {
        shared.ledger().retake(Slot(record.slot), &record.resources());
    }
    let purpose = record.purpose();
    let observation = shared.first_observation(&record, build_id, &id);
    let (entry, inbox) = Entry::new(id, observation, purpose);
    shared.enter(&entry).ok()?;
    let (settled, answer) = oneshot::channel();
    let driver = Driver::new(shared, &entry, record.clone(), inbox);
    spawn(shared, &entry, record, driver.resume(settled));
    Some(answer)
}

/// Leaves an unusable record alone, loudly. A directory without any record is
/// what a start leaves that was cut off before its first act: removed.
async fn refuse(shared: &Shared, dir: PathBuf, reason: Unusable) -> Option<Refused> {
    let kept = disk::blocking({
        let dir = dir.clone();
        move || if is_blank(&dir) { disk::remove_dir(&dir).err() } else { None }
    });
    if is_absent(&reason) && kept.await.is_none() && !dir.exists() {
        return None;
    }
    if let Some(id) = id_of(&dir) {
        shared.blocked().insert(id);
    }
    if let Some(slot) = Record::slot_of_unusable(&dir) {
        shared.ledger().retake(slot, &model::Resources::DEFAULT);
    }
    let error = chain(&reason);
    tracing::error!(dir = %dir.display(), error, "a sandbox's record cannot be used; it is left alone");
    Some(Refused { dir, reason })
}

fn id_of(dir: &Path) -> Option<SandboxId> {
    dir.file_name()?.to_str()?.parse().ok()
}

/// Whether the sandbox of an unusable record ran when its host lost its power.
async fn is_lost(dir: &Path, reason: &Unusable) -> bool {
    let dir = dir.to_owned();
    !matches!(reason, Unusable::Newer { .. })
        && id_of(&dir).is_some()
        && disk::blocking(move || Record::was_never_stored(&dir)).await
}

fn is_absent(reason: &Unusable) -> bool {
    matches!(reason, Unusable::Disk(e) if e.is_absent())
}

/// Whether a directory holds at most a record that was being written.
fn is_blank(dir: &Path) -> bool {
    disk::list_dir(dir)
        .is_ok_and(|paths| paths.iter().all(|path| path.extension().is_some_and(|e| e == "new")))
}

/// Runs a driver. If it panics, a second one removes the sandbox.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    entry: &Arc<Entry>,
    record: Record,
    drive: impl Future<Output = ()> + Send + 'static,
) {
    let span = tracing::info_span!("sandbox", sandbox_id = %entry.sandbox_id);
    let (again, its_entry) = (Arc::clone(shared), Arc::clone(entry));
    let on_panic = move || async move {
        let dir = again.options.sandboxes_dir().join(its_entry.sandbox_id.as_str());
        // What it was when it was spawned may be long ago: its slot may be another's.
        let record = disk::blocking(move || Record::read(&dir)).await.unwrap_or(record);
        let (_, inbox) = tokio::sync::mpsc::channel(1);
        Driver::new(&again, &its_entry, record, inbox).remove(EndCause::Crashed).await;
    };
    shared.tasks.spawn(span, drive, on_panic);
}
