//! The interpreter alone, on this machine: `interpreter PYTHON FILES [ADDRESS]`, where FILES is
//! `templates/code-interpreter/interpreter`.
//!
//! For trying a client against it without a sandbox.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use warren_guest::interpreter::{InterpreterConfig, Rest, TokioSpawner, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(python), Some(files)) = (args.next(), args.next()) else {
        return Err("usage: interpreter PYTHON FILES [ADDRESS]".into());
    };
    let address: SocketAddr = args.next().as_deref().unwrap_or("127.0.0.1:49999").parse()?;
    let run_dir = std::env::temp_dir().join(format!("interpreter-{}", std::process::id()));
    let config = InterpreterConfig {
        envs: Arc::new(BTreeMap::new),
        ready: watch::Sender::new(false),
        python: PathBuf::from(python),
        files: PathBuf::from(files),
        cwd: std::env::current_dir()?,
        run_dir,
        forks: Arc::new(|| true),
        rest: Rest::default(),
        spawn: Arc::new(TokioSpawner),
    };
    serve(tokio::net::TcpListener::bind(address).await?, config).await?;
    Ok(())
}
