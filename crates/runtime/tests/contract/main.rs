//! What every backend promises, tried on each of them: the simulation anywhere,
//! namespaces with root. Their own barriers and limits are in `limits`.
#![expect(clippy::unwrap_used, reason = "in tests, what cannot go on fails")]
#![expect(clippy::print_stdout, reason = "what took how long is announced")]

mod checkpoints;
mod frozen;
mod limits;
mod namespaces;
mod promises;
mod rounds;
mod sim;
mod trials;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{ByteSize, Resources, SandboxId, Slot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use warren_runtime::{Backend, Dial, Machine, MachineSpec};

/// The port on which a test machine answers with what it is sent.
const ECHO_PORT: u16 = 7;
/// A port on which nothing listens.
const SILENT_PORT: u16 = 9;

/// A machine does every single thing asked of it here within this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A host with a backend on it.
trait Host {
    /// Another backend object on the same host, as after a restart of the server.
    fn backend(&self) -> Arc<dyn Backend>;
    /// The directory of a sandbox, made.
    fn sandbox_dir(&self, id: &SandboxId) -> PathBuf;
    /// Read-only directories for a machine's root.
    fn layers(&self) -> Vec<PathBuf>;
    /// The directory of the layers, where checkpoints put theirs.
    fn layers_dir(&self) -> PathBuf;
    /// Everything of machines that exists on the host now, by name.
    fn census(&self) -> Vec<String>;
}

/// A machine that echoes on [`ECHO_PORT`].
fn spec(host: &dyn Host, n: u32) -> MachineSpec {
    spec_of(host, n, "exec nc -ll -p 7 -e cat")
}

/// A machine whose first process runs a shell line.
fn spec_of(host: &dyn Host, n: u32, line: &str) -> MachineSpec {
    let sandbox_id: SandboxId = format!("icontract{n}").parse().unwrap();
    MachineSpec {
        slot: Slot(n),
        layers: host.layers(),
        dir: host.sandbox_dir(&sandbox_id),
        resources: Resources { cpu_count: 1, memory: ByteSize::mib(256), disk: ByteSize::mib(64) },
        hostname: "box".to_owned(),
        command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        env: vec![("PATH".to_owned(), "/bin".to_owned())],
        sandbox_id,
    }
}

/// All steps of a start.
async fn start(backend: &dyn Backend, spec: &MachineSpec) -> Arc<dyn Machine> {
    backend.reserve(spec).await.unwrap();
    backend.prepare(spec).await.unwrap();
    backend.boot(spec).await.unwrap()
}

/// All undos, whatever was done before.
async fn undo(backend: &dyn Backend, spec: &MachineSpec) {
    backend.unprepare(spec).await.unwrap();
    backend.unreserve(spec).await.unwrap();
}

/// Kills, undoes, and waits until the host is as it was.
async fn end(host: &dyn Host, backend: &dyn Backend, spec: &MachineSpec, machine: Arc<dyn Machine>) {
    machine.kill().await.unwrap();
    drop(machine);
    undo(backend, spec).await;
    settled(host, &[]).await;
}

/// Waits until the census is this; namespaces die a little after their processes.
async fn settled(host: &dyn Host, wanted: &[String]) {
    let mut left = Vec::new();
    for _ in 0..200 {
        left = host.census();
        if left == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("left behind: {left:#?}, wanted {wanted:#?}");
}

/// Sends bytes to the echo port until they come back.
async fn echo(dial: &dyn Dial) {
    let waiting = async {
        while echo_once(dial).await.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the machine echoes");
}

async fn echo_once(dial: &dyn Dial) -> Option<()> {
    let mut stream = dial.dial(ECHO_PORT).await.ok()?;
    stream.write_all(b"hello").await.ok()?;
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.ok()?;
    (&back == b"hello").then_some(())
}
