//! The clients led by a domain alone: host names, TLS, HTTP/2. Names are
//! resolved as on any machine, by a name server that only these programs see:
//! they run in a mount namespace with a `resolv.conf` of their own.

use std::path::Path;
use std::process::{Child, Command};

use anyhow::Context as _;

use super::suites::{count, modules, run_node, run_pytest, venv};
use crate::command::{command, say};
use crate::server::{Server, lane};
use crate::tally::Tally;

/// The domain that the server is for. Of a top-level name that never exists.
pub(super) const NAME: &str = "warren.test";

/// What of the ordinary suites runs in this mode as well: what names, streams
/// and versions of HTTP could break.
const SUITES: [&str; 4] = [
    "tests/tls",
    "tests/python/test_commands.py",
    "tests/python/test_files.py",
    "tests/python/test_routing.py",
];

/// Runs them against a server that was started with `--domain`.
pub(super) fn run(server: &Server, tally: &mut Tally) {
    say("suite tests/tls and others, led by a domain over TLS");
    let names = match Names::serve() {
        Ok(names) => names,
        Err(error) => return tally.fail("a name server for the tests", &format!("{error:#}")),
    };
    let python = || run_pytest(names.lead(&venv()?.python(), server)?, &SUITES);
    count("suites over TLS, Python", python(), tally);
    let script = || modules()?.script(Path::new("tests/js/sandbox.test.mjs"));
    let node = || run_node(&mut names.lead(&script()?, server)?);
    count("suites over TLS, JavaScript", node(), tally);
}

/// The name server, until it is dropped.
struct Names {
    child: Child,
    resolv_conf: std::path::PathBuf,
}

impl Names {
    fn serve() -> anyhow::Result<Self> {
        let address = format!("127.77.0.{}", lane()? + 1);
        let resolv_conf = crate::repo::tools().join("resolv.conf");
        std::fs::write(&resolv_conf, format!("nameserver {address}\n")).context("write a resolv.conf")?;
        let child = venv()?.python().args(["tests/tls/names.py", &address, NAME]).spawn();
        Ok(Self { child: child.context("start the name server")?, resolv_conf })
    }

    /// The same program where names lead to the server, with nothing of the caller's own.
    fn lead(&self, program: &Command, server: &Server) -> anyhow::Result<Command> {
        let port = server.address.rsplit(':').next().context("an address has a port")?;
        let mut unshare = command("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c"]);
        unshare.arg(r#"mount --bind "$1" /etc/resolv.conf && shift && exec "$@""#);
        unshare.arg("sh").arg(&self.resolv_conf).arg(program.get_program()).args(program.get_args());
        if let Some(dir) = program.get_current_dir() {
            unshare.current_dir(dir);
        }
        server.access().lead(&mut unshare).env_remove("E2B_SANDBOX_URL");
        let trust = crate::repo::state().join("tls").join(NAME);
        unshare.env("E2B_DOMAIN", format!("{NAME}:{port}"));
        // Of raw requests: the host on which routing headers count.
        unshare.env("E2B_API_URL", format!("https://sandbox.{NAME}:{port}"));
        unshare.env("NODE_EXTRA_CA_CERTS", trust.join("authority.pem"));
        unshare.env("SSL_CERT_FILE", trust.join("bundle.pem"));
        Ok(unshare)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
