//! A real server for tests and measurements: started on free ports with a state
//! directory of its own, watched, and stopped whatever happens.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::command::{command, last_lines, say};
use crate::http::Connection;

/// Building both templates from nothing takes minutes on a slow network.
const FIRST_START: Duration = Duration::from_mins(20);
const STOP: Duration = Duration::from_secs(30);

/// What keeps a server out of the way of one that people use here, and of
/// another test run beside this one that has another `WARREN_TEST_LANE`.
#[derive(Debug)]
pub(crate) struct Apart {
    lane: u32,
    /// Its name, which its cgroups have.
    pub(crate) instance: String,
    /// How the names of its network interfaces begin.
    pub(crate) interface_prefix: String,
    /// Those of its sandboxes, as the host sees them.
    pub(crate) user_ids: Range<u32>,
}

const USER_IDS: u32 = 50_000_000;

impl Apart {
    /// Of the servers of this run.
    pub(crate) fn of_this_run() -> anyhow::Result<Self> {
        let lane = lane()?;
        let first = 700_000_000 + lane * USER_IDS;
        Ok(Self {
            lane,
            instance: format!("test{lane}"),
            interface_prefix: format!("wt{lane:x}"),
            user_ids: first..first + USER_IDS,
        })
    }

    fn settings(&self) -> String {
        format!(
            "instance = \"{}\"\n\
             [network]\nrange = \"10.{}.0.0/16\"\ninterface_prefix = \"{}\"\n\
             [images]\nstand_ins = \"always\"\nplain_http = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]\n\
             aws_endpoint = \"http://127.0.0.1:{}\"\n\
             [node]\nfirst_uid = {}\n",
            self.instance,
            215 + self.lane,
            self.interface_prefix,
            // What `tests/python/registry.py` starts.
            5900 + self.lane,
            5940 + self.lane,
            5980 + self.lane,
            self.user_ids.start
        )
    }
}

/// The number of this test run among those that stand beside each other.
pub(crate) fn lane() -> anyhow::Result<u32> {
    let lane = std::env::var("WARREN_TEST_LANE").unwrap_or_else(|_| "0".to_owned());
    lane.parse().ok().filter(|lane| *lane < 32).context("WARREN_TEST_LANE is 0 to 31")
}

/// Where a server is, and a key that it accepts.
#[derive(Debug)]
pub(crate) struct Access {
    /// `host:port` of its listener.
    pub(crate) address: String,
    api_key: String,
    /// The operator's, of a server of our own.
    admin_token: Option<String>,
}

impl Access {
    /// A server that somebody else started: `http://host:port`.
    pub(crate) fn running(url: &str, api_key: &str) -> anyhow::Result<Self> {
        let address = url.strip_prefix("http://").context("name the server as http://host:port")?;
        Ok(Self {
            address: address.trim_end_matches('/').to_owned(),
            api_key: api_key.to_owned(),
            admin_token: None,
        })
    }

    /// Leads the official clients there, with nothing of the caller's own.
    pub(crate) fn lead<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let url = format!("http://{}", self.address);
        for name in ["E2B_DEBUG", "E2B_DOMAIN", "E2B_ACCESS_TOKEN"] {
            command.env_remove(name);
        }
        if let Some(token) = &self.admin_token {
            command.env("WARREN_ADMIN_TOKEN", token);
        }
        command.env("E2B_API_URL", &url).env("E2B_SANDBOX_URL", url).env("E2B_API_KEY", &self.api_key)
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// How it was started, to start it again.
    up: Command,
    /// `host:port` of its listener.
    pub(crate) address: String,
    /// A key that it accepts.
    pub(crate) api_key: String,
    admin_token: String,
    /// Where it writes.
    pub(crate) log: PathBuf,
    /// From the start of the process to the first answer.
    pub(crate) started_in: Duration,
}

/// How to start one.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    /// The program.
    pub(crate) warren: &'a Path,
    /// Its state; templates in it are used again.
    pub(crate) state: &'a Path,
    /// Open the well-known debug ports too; at most one server can.
    pub(crate) debug_ports: bool,
    /// Serve TLS for this domain too, with an authority of its own.
    pub(crate) domain: Option<&'a str>,
}

impl Server {
    /// Starts one apart from others and waits until it answers.
    pub(crate) fn start(options: &Options<'_>) -> anyhow::Result<Self> {
        Self::start_set(options, "")
    }

    /// The same with further settings: the node's, then whole tables.
    pub(crate) fn start_set(options: &Options<'_>, more: &str) -> anyhow::Result<Self> {
        let settings = crate::repo::tools().join("server.toml");
        fs::create_dir_all(crate::repo::tools()).context("make the directory of the settings")?;
        fs::write(&settings, Apart::of_this_run()?.settings() + more)
            .context("write the server's settings")?;
        let mut arguments: Vec<&OsStr> = vec!["--config".as_ref(), settings.as_os_str()];
        if let Some(domain) = options.domain {
            arguments.extend(["--domain".as_ref(), domain.as_ref()] as [&OsStr; 2]);
        }
        Self::start_with(options, &arguments)
    }

    /// Starts one with these arguments of `warren up` and waits until it answers.
    pub(crate) fn start_with(options: &Options<'_>, arguments: &[&OsStr]) -> anyhow::Result<Self> {
        say("Starting a server");
        fs::create_dir_all(options.state).context("make the state directory")?;
        let address = free_address()?;
        let log = crate::repo::tools().join("server.log");
        fs::create_dir_all(crate::repo::tools()).context("make the directory of the log")?;
        let output = File::create(&log).context("make the server's log")?;
        let mut up = command(options.warren);
        up.arg("up").arg("--state-dir").arg(options.state).args(["--listen", &address]).args(arguments);
        if !options.debug_ports {
            up.arg("--no-debug-ports");
        }
        up.stdout(output.try_clone().context("share the log")?).stderr(output);
        let start = Instant::now();
        let child = up.spawn().context("start the server")?;
        let (api_key, admin_token) = (String::new(), String::new());
        let mut server = Self { child, up, address, api_key, admin_token, log, started_in: Duration::ZERO };
        server.wait_until_it_answers(start)?;
        server.started_in = start.elapsed();
        let key = options.state.join("api-key");
        let key = fs::read_to_string(&key).with_context(|| format!("read {}", key.display()))?;
        key.trim().clone_into(&mut server.api_key);
        let token = options.state.join("admin-token");
        let token = fs::read_to_string(&token).with_context(|| format!("read {}", token.display()))?;
        token.trim().clone_into(&mut server.admin_token);
        Ok(server)
    }

    fn wait_until_it_answers(&mut self, start: Instant) -> anyhow::Result<()> {
        let mut told = 0;
        loop {
            if let Some(status) = self.child.try_wait().context("watch the server")? {
                bail!("the server ended with {status}:\n{}", self.last_words());
            }
            if answers(&self.address) {
                return Ok(());
            }
            if start.elapsed() > FIRST_START {
                bail!("the server does not answer:\n{}", self.last_words());
            }
            if start.elapsed().as_secs() / 15 > told {
                told = start.elapsed().as_secs() / 15;
                println!("    still starting after {} s: {}", told * 15, progress(&self.address));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it as a power cut would, and starts it again on the same address.
    pub(crate) fn crash(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("kill the server")?;
        self.child.wait().context("wait for its end")?;
        let start = Instant::now();
        self.child = self.up.spawn().context("start the server again")?;
        self.wait_until_it_answers(start)
    }

    /// Starts it again if somebody killed it; on the same address.
    pub(crate) fn revive(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait().context("watch the server")?.is_none() {
            return Ok(());
        }
        let start = Instant::now();
        self.child = self.up.spawn().context("start the server again")?;
        self.wait_until_it_answers(start)
    }

    /// The operator's token.
    pub(crate) fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// How clients get here.
    pub(crate) fn access(&self) -> Access {
        Access {
            address: self.address.clone(),
            api_key: self.api_key.clone(),
            admin_token: Some(self.admin_token.clone()),
        }
    }

    /// A connection for raw requests.
    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&self.address)
    }

    /// Process id, for measurements of the server itself.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in the ordinary way; an error when it has to be killed.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.terminate();
        let start = Instant::now();
        while start.elapsed() < STOP {
            if let Some(status) = self.child.try_wait().context("watch the server")? {
                anyhow::ensure!(status.success(), "the server ended with {status}:\n{}", self.last_words());
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server did not stop within {STOP:?}:\n{}", self.last_words())
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself; then there is nothing to stop.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&fs::read_to_string(&self.log).unwrap_or_default(), 40)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        self.terminate();
        let start = Instant::now();
        while start.elapsed() < STOP {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks for the server's health. It listens before its templates are built, so
/// the wait for an answer is short, or nobody would hear how the build goes.
fn answers(address: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// What a server that is not ready yet says of how far it is.
fn progress(address: &str) -> String {
    let ask = || Connection::open(address)?.request("GET", "/health", &[], b"");
    match ask() {
        Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
        Err(_) => "it does not listen yet".to_owned(),
    }
}

fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr().context("read the free port")?.to_string())
}
