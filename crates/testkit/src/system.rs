//! The system: a node on the simulated backend, with the built-in templates.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use model::admission::{Capacity, Overcommit};
use model::{BuildId, ByteSize};
use node::{Handle, Limits, NodeOptions, Sandboxes};
use runtime::sim::{Sim, World};
use tempfile::TempDir;

/// The build of the template `base`.
pub const BASE: BuildId = BuildId::from_u128(0x0ba5_e000_0000_4000_8000_0000_0000_0001);
/// The build of the template `code-interpreter-v1`.
pub const CODE_INTERPRETER: BuildId = BuildId::from_u128(0xc0de_0000_0000_4000_8000_0000_0000_0001);

/// A system under test. Dropping it drops the server and removes all files.
#[derive(Debug)]
pub struct System {
    world: Arc<World>,
    state: TempDir,
    node: Handle,
}

impl System {
    /// Starts a system in a directory of its own.
    pub async fn start() -> Result<Self> {
        let state = tempfile::tempdir().context("make a state directory")?;
        let world = World::new();
        write_template(&state, BASE, "warrenbase0000000000", &["base"], false)?;
        let names = ["code-interpreter-v1", "code-interpreter"];
        write_template(&state, CODE_INTERPRETER, "warrencodeinterp0000", &names, true)?;
        let node = open(&state, &world).await?;
        Ok(Self { world, state, node })
    }

    /// The simulated host: what exists in it, and what is to go wrong.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The node.
    pub fn node(&self) -> &Handle {
        &self.node
    }

    /// Stops the server in order and starts the next one.
    pub async fn restart(&mut self) -> Result<()> {
        self.node.shutdown(Sandboxes::Leave).await;
        self.node = open(&self.state, &self.world).await?;
        Ok(())
    }

    /// Drops the server where it stands, as a kill would, and starts the next one.
    pub async fn crash(&mut self) -> Result<()> {
        self.node.abandon().await;
        self.node = open(&self.state, &self.world).await?;
        Ok(())
    }
}

async fn open(state: &TempDir, world: &Arc<World>) -> Result<Handle> {
    let backend = Arc::new(Sim::new(Arc::clone(world)));
    let capacity = Capacity { memory: ByteSize::gib(512), disk: ByteSize::gib(8192), slots: 512 };
    let guest = state.path().join("guest");
    let mut options = NodeOptions::new(state.path(), &guest, backend, capacity);
    options.overcommit = Overcommit::NONE;
    options.limits = Limits {
        undo_retries: [1, 5, 20].map(Duration::from_millis),
        undo_again: Duration::from_millis(100),
        guest_answer: Duration::from_secs(2),
        ..Limits::default()
    };
    let (node, refused) = Handle::open(options).await.context("open the node")?;
    ensure!(refused.is_empty(), "records were refused: {refused:?}");
    Ok(node)
}

fn write_template(
    state: &TempDir,
    build: BuildId,
    id: &str,
    names: &[&str],
    interpreter: bool,
) -> Result<()> {
    let layers = state.path().join("layers").join(id);
    std::fs::create_dir_all(layers).context("make a layer")?;
    let templates = state.path().join("templates");
    std::fs::create_dir_all(&templates).context("make the templates' directory")?;
    let aliases: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let text = format!(
        r#"{{"format": 1, "build_id": "{build}", "template_id": "{id}", "aliases": [{}], "cpu_count": 2,
            "memory_bytes": {}, "disk_bytes": {}, "envd_version": "{}", "layers": ["{id}"],
            "interpreter": {interpreter}, "env": {{}}, "default_user": "user",
            "default_workdir": "/home/user", "created_at": 1}}"#,
        aliases.join(", "),
        ByteSize::gib(1).as_u64(),
        ByteSize::gib(10).as_u64(),
        wire::control::ENVD_VERSION,
    );
    std::fs::write(templates.join(format!("{build}.json")), text).context("write a template")
}
