//! Builds of templates: what a step costs besides its work, what it costs to build
//! what was built before, creates from templates of few and of many steps, and the
//! unpacking of an image beside other tools.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::measure::Series;
use super::target::Target;
use crate::command::{capture, command, exists};
use crate::repo;

/// Steps of the build that is measured.
const STEPS: u32 = 10;
/// Steps of the high template.
const MANY: u32 = 60;
/// What an image holds, in MiB, and in how many files.
const IMAGE_MIB: usize = 500;
const FILES: usize = 500;

const ONE_STEP: &str = "create from a template of one step";
const TOOLS: &str = "floor: `skopeo` fetches and `umoci` unpacks it";

/// Adds the rows of builds and creates.
pub(super) fn measure(target: &Target, rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let mut step = Series::ms("a step of a build of ten, besides its work").promised(150.0);
    let mut again = Series::ms("building it again, nothing changed").promised(1000.0);
    for round in 0..rounds.clamp(1, 5) {
        let mark = format!("bench-{}-{round}", std::process::id());
        let start = Instant::now();
        build(target, &mark, &json!({ "fromTemplate": "base", "steps": steps(STEPS, &mark) }))?;
        step.push(start.elapsed() / STEPS);
        again.time(|| {
            build(target, &mark, &json!({ "fromTemplate": "base", "steps": steps(STEPS, &mark) }))
        })?;
        delete(target, &mark)?;
    }
    let (low, high) =
        (format!("bench-low-{}", std::process::id()), format!("bench-high-{}", std::process::id()));
    let mut of_one = Series::ms(ONE_STEP);
    let mut of_many = Series::ms("create from a template of sixty steps").over(ONE_STEP).promised_times(1.2);
    build(target, &low, &json!({ "fromTemplate": "base", "steps": steps(1, &low) }))?;
    build(target, &high, &json!({ "fromTemplate": "base", "steps": steps(MANY, &high) }))?;
    // In turn, so that whatever else the machine does meets both.
    for _ in 0..rounds {
        of_one.time(|| target.create(&low))?.kill()?;
        of_many.time(|| target.create(&high))?.kill()?;
    }
    delete(target, &low)?;
    delete(target, &high)?;
    rows.extend([step, again, of_one, of_many]);
    Ok(())
}

/// Adds the rows of an image that a registry on loopback serves; none where a tool is missing.
pub(super) fn image(target: &Target, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let tools = ["docker-registry", "skopeo", "umoci"];
    if let Some(missing) = tools.iter().find(|tool| !exists(tool)) {
        println!("    {missing} is not installed: unpacking an image is not measured");
        return Ok(());
    }
    let place = repo::tools().join("image");
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir_all(&place).context("make a place for an image")?;
    let measured = unpack(target, &place, rows);
    std::fs::remove_dir_all(&place).context("remove the image")?;
    measured
}

fn unpack(target: &Target, place: &Path, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    let registry = Registry::start(place)?;
    let made = place.join("made");
    make(place, &made)?;
    let reference = format!("{}/bench/image:v1", Registry::host());
    let insecure = "--dest-tls-verify=false";
    capture(
        command("skopeo")
            .args(["copy", "-q", insecure, &format!("oci:{}:v1", made.display())])
            .arg(format!("docker://{reference}")),
    )?;
    let bytes = IMAGE_MIB << 20;
    let mut tools = Series::rate(TOOLS, bytes);
    tools.time(|| {
        let fetched = place.join("fetched");
        let from = format!("docker://{reference}");
        capture(command("skopeo").args([
            "copy",
            "-q",
            "--src-tls-verify=false",
            &from,
            &format!("oci:{}:v1", fetched.display()),
        ]))?;
        let image = format!("{}:v1", fetched.display());
        capture(command("umoci").args(["unpack", "--image", &image]).arg(place.join("bundle"))).map(drop)
    })?;
    let name = format!("bench-image-{}", std::process::id());
    let mut ours = Series::rate("an image of 500 MiB becomes a template", bytes).over(TOOLS);
    let order = json!({ "fromImage": reference, "steps": [] });
    ours.time(|| build(target, &name, &order))?;
    drop(registry);
    delete(target, &name)?;
    rows.extend([tools, ours]);
    Ok(())
}

/// An image of one layer, half of it noise.
fn make(place: &Path, layout: &Path) -> anyhow::Result<()> {
    let tree = place.join("tree");
    std::fs::create_dir_all(&tree).context("make a tree")?;
    let each = (IMAGE_MIB << 20) / FILES;
    // Xorshift: noise that no packer makes smaller.
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for file in 0..FILES {
        let mut bytes = vec![b'x'; each];
        for word in bytes[..each / 2].chunks_exact_mut(8) {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            word.copy_from_slice(&noise.to_le_bytes());
        }
        std::fs::write(tree.join(file.to_string()), bytes).context("write a file of the image")?;
    }
    let image = format!("{}:v1", layout.display());
    capture(command("umoci").args(["init", "--layout"]).arg(layout))?;
    capture(command("umoci").args(["new", "--image", &image]))?;
    capture(command("umoci").args(["insert", "--image", &image]).arg(&tree).arg("/srv"))?;
    Ok(())
}

/// Debian's registry on loopback. Dropping it ends it.
struct Registry(Child);

impl Registry {
    /// Where the server that is measured speaks without TLS.
    fn host() -> &'static str {
        super::target::REGISTRY
    }

    fn start(place: &Path) -> anyhow::Result<Self> {
        let config: PathBuf = place.join("registry.yml");
        let data = place.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{}'}}\n",
            data.display(),
            Self::host()
        );
        std::fs::write(&config, text).context("write the registry's settings")?;
        let mut serve: Command = command("docker-registry");
        serve.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self(serve.spawn().context("start a registry")?);
        for _ in 0..300 {
            if std::net::TcpStream::connect(Self::host()).is_ok() {
                return Ok(registry);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("the registry does not answer")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Steps whose work is next to nothing.
fn steps(count: u32, mark: &str) -> Vec<Value> {
    let step = |n| json!({ "type": "RUN", "args": [format!("echo {mark} > ~/{n}; echo {n} > ~/last")] });
    (0..count).map(step).collect()
}

/// Builds a template, and waits until it is ready.
fn build(target: &Target, name: &str, order: &Value) -> anyhow::Result<()> {
    let made = target.call("POST", "/v3/templates", &json!({ "name": name }))?;
    let id = |key: &str| made[key].as_str().map(str::to_owned).with_context(|| format!("{key} in {made}"));
    let path = format!("templates/{}/builds/{}", id("templateID")?, id("buildID")?);
    target.call("POST", &format!("/v2/{path}"), order)?;
    loop {
        let status = target.call("GET", &format!("/{path}/status"), &Value::Null)?;
        match status["status"].as_str() {
            Some("ready") => return Ok(()),
            Some("error") => anyhow::bail!("the build failed: {}", status["reason"]),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn delete(target: &Target, name: &str) -> anyhow::Result<()> {
    target.call("DELETE", &format!("/templates/{name}"), &Value::Null).map(drop)
}
