//! The real server as a child process, and the template it starts from.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sdk::{Config, Error, ErrorKind, Sandbox};

/// A server that is killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) config: Config,
    /// Where its API is.
    pub(crate) url: String,
}

impl Server {
    /// Starts it on a free port.
    pub(crate) fn start(state: &Path) -> Self {
        Self::run(command(Command::new(env!("CARGO_BIN_EXE_warren")), state))
    }

    /// Runs a command that becomes the server and reads what to paste from its output.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.env_remove("SSL_CERT_FILE").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut exported = |name: &str| {
            let start = format!("export {name}=");
            lines.find_map(|line| line.strip_prefix(&start).map(str::to_owned)).expect("the server says it")
        };
        // The listener is on 127.0.0.1 alone; `localhost` may be ::1 first.
        let url = exported("E2B_API_URL").replace("localhost", "127.0.0.1");
        let config = Config::local(url.clone(), exported("E2B_API_KEY"));
        Self { child, config, url }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is said of a sandbox that is gone. Until its remains are removed, it is
/// a conflict to connect to it.
pub(crate) async fn not_found(config: &Config, id: &str) -> Error {
    loop {
        let error = Sandbox::connect(config, id, None).await.unwrap_err();
        if error.kind() == ErrorKind::SandboxNotFound {
            return error;
        }
    }
}

/// The arguments of a server on simulated machines.
pub(crate) fn command(mut warren: Command, state: &Path) -> Command {
    warren.args(["up", "--isolation", "sim", "--listen", "127.0.0.1:0", "--no-debug-ports"]);
    warren.arg("--state-dir").arg(state);
    warren
}

/// Template `base` of the simulation: a build on disk with one empty layer.
pub(crate) fn template(state: &Path) {
    std::fs::create_dir_all(state.join("templates")).unwrap();
    std::fs::create_dir_all(state.join("layers/empty")).unwrap();
    let build = "0ba5e000-0000-4000-8000-000000000001";
    let text = format!(
        r#"{{"format": 1, "build_id": "{build}", "template_id": "warrenbase0000000000", "aliases": ["base"],
            "cpu_count": 2, "memory_bytes": 1073741824, "disk_bytes": 1073741824, "envd_version": "0.6.4",
            "layers": ["empty"], "interpreter": false, "env": {{}}, "default_user": "user",
            "default_workdir": "/home/user", "created_at": 1}}"#
    );
    std::fs::write(state.join(format!("templates/{build}.json")), text).unwrap();
}
