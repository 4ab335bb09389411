//! Which program is the kernel of a language, and how it is started.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::config::InterpreterConfig;
use super::language::Dialect;
use super::place::Place;
use super::spawn::KernelCommand;

const SHELL: &str = "/bin/sh";
const R: &str = "/usr/bin/Rscript";
const JAVA: &str = "/usr/bin/java";

/// A second collector thread and a second compiler would only take memory from
/// code that is mostly small; the JVM starts in half the time without them.
const JVM: [&str; 3] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];

/// The command of the process that forks Python kernels on demand.
pub(super) fn nursery(
    config: &InterpreterConfig,
    place: &Place,
    env: BTreeMap<String, String>,
) -> KernelCommand {
    let launcher = config.files.join("launch.py").to_string_lossy().into_owned();
    let socket = place.socket().to_string_lossy().into_owned();
    let args = vec![launcher, "--nursery".to_owned(), socket];
    in_directory(config, &config.cwd, config.python.clone(), args, env)
}

/// The command of a kernel that will be reached at `place`.
pub(super) fn command(
    config: &InterpreterConfig,
    dialect: Dialect,
    cwd: &Path,
    place: &Place,
    env: BTreeMap<String, String>,
) -> KernelCommand {
    let ours = |path: &str| config.files.join(path).to_string_lossy().into_owned();
    let socket = || place.socket().to_string_lossy().into_owned();
    let connection = || place.connection_file().to_string_lossy().into_owned();
    let (program, args) = match dialect {
        Dialect::Python => (config.python.clone(), vec![ours("launch.py"), "-f".to_owned(), connection()]),
        Dialect::JavaScript | Dialect::TypeScript => {
            (PathBuf::from(SHELL), vec![ours("javascript/start"), socket()])
        }
        Dialect::Bash => {
            let isolated = ["-I", "-S"].map(str::to_owned);
            (config.python.clone(), isolated.into_iter().chain([ours("bash/kernel.py"), socket()]).collect())
        }
        Dialect::R => (PathBuf::from(R), vec![ours("r/kernel.R"), connection()]),
        Dialect::Java => {
            let path = ["-cp".to_owned(), ours("java/classes"), "Kernel".to_owned(), socket()];
            (PathBuf::from(JAVA), JVM.into_iter().map(str::to_owned).chain(path).collect())
        }
    };
    in_directory(config, cwd, program, args, env)
}

fn in_directory(
    config: &InterpreterConfig,
    cwd: &Path,
    program: PathBuf,
    args: Vec<String>,
    mut env: BTreeMap<String, String>,
) -> KernelCommand {
    // A directory that is not there must not keep the context from existing: the
    // reference's `%cd` only prints then.
    let cwd = [cwd, &config.cwd].into_iter().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    // Without it R and whatever else asks the locale would escape what is not ASCII.
    env.entry("LANG".to_owned()).or_insert_with(|| "C.UTF-8".to_owned());
    KernelCommand { program, args, env, cwd: cwd.to_owned() }
}
