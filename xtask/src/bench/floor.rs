//! What the machine itself takes for the bare form of each thing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Context as _;

use super::measure::Series;
use super::{FILE, repo};
use crate::command::{capture, command};

/// Measures every floor.
pub(super) fn measure(rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    rows.push(spawn(rounds)?);
    rows.push(namespaces(rounds)?);
    rows.push(round_trip(rounds * 10)?);
    rows.push(copy()?);
    Ok(())
}

/// Starting and reaping a program.
fn spawn(rounds: u32) -> anyhow::Result<Series> {
    let mut series = Series::ms("floor: `/bin/true` on the host");
    for _ in 0..rounds {
        series.time(|| capture(&mut command("/bin/true")))?;
    }
    Ok(series)
}

/// Namespaces, an overlay, a program: what `unshare` and `mount` can do. Two
/// programs more than a sandbox needs, and no network, limits or filters.
fn namespaces(rounds: u32) -> anyhow::Result<Series> {
    let dir = repo::tools().join("floor");
    for name in ["lower", "upper", "work", "root"] {
        std::fs::create_dir_all(dir.join(name)).context("make the floor's directories")?;
    }
    // The overlay's upper must not itself lie on an overlay: a tmpfs always serves.
    let script = "mount -t tmpfs none upper && mkdir upper/u upper/w && mount -t overlay overlay -o \
                  lowerdir=lower,upperdir=upper/u,workdir=upper/w root && exec /bin/true";
    let mut series = Series::ms("floor: all namespaces, an overlay and `true`, by `unshare`");
    for _ in 0..rounds {
        series.time(|| {
            let flags = ["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "sh", "-c"];
            capture(command("unshare").args(flags).arg(script).current_dir(&dir))
        })?;
    }
    Ok(series)
}

/// 64 bytes there and back over loopback TCP.
fn round_trip(rounds: u32) -> anyhow::Result<Series> {
    let (mut near, mut far) = pair()?;
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while far.read_exact(&mut bytes).and_then(|()| far.write_all(&bytes)).is_ok() {}
    });
    let mut series = Series::ms("floor: loopback TCP round trip, 64 B");
    let mut bytes = [0; 64];
    for _ in 0..rounds {
        series.time(|| {
            near.write_all(&bytes).context("send")?;
            near.read_exact(&mut bytes).context("receive")
        })?;
    }
    drop(near);
    echo.join().expect("the echo does not panic");
    Ok(series)
}

/// 64 MiB over loopback TCP into memory.
fn copy() -> anyhow::Result<Series> {
    let mut series = Series::rate("floor: 64 MiB over loopback TCP", FILE);
    let bytes = vec![7; FILE];
    for _ in 0..10 {
        let (mut near, mut far) = pair()?;
        series.time(|| {
            std::thread::scope(|scope| {
                let reader = scope.spawn(move || {
                    let mut got = Vec::with_capacity(FILE);
                    far.read_to_end(&mut got).map(|_| got.len())
                });
                near.write_all(&bytes).context("send")?;
                drop(near);
                let got = reader.join().expect("the reader does not panic").context("receive")?;
                anyhow::ensure!(got == FILE, "{got} bytes arrived");
                Ok(())
            })
        })?;
    }
    Ok(series)
}

fn pair() -> anyhow::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    let near = TcpStream::connect(listener.local_addr().context("read the port")?).context("connect")?;
    let (far, _) = listener.accept().context("accept")?;
    near.set_nodelay(true).context("set TCP_NODELAY")?;
    far.set_nodelay(true).context("set TCP_NODELAY")?;
    Ok((near, far))
}
