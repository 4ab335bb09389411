//! What the machine itself takes for the bare form of each thing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Context as _;

use super::measure::Series;
use super::{FILE, bare, repo};
use crate::command::{capture, command};

/// Starting and reaping a program.
pub(super) const SPAWN: &str = "floor: `/bin/true` on the host";
/// The same for a shell; the host's own profile is none of our business.
pub(super) const SHELL: &str = "floor: `bash -c true` on the host";
/// See [`bare`].
pub(super) const MACHINE: &str = "floor: clone3, overlay, pivot, `true`, gone";
/// 64 bytes there and back.
pub(super) const ROUND_TRIP: &str = "floor: loopback TCP round trip, 64 B";
/// What a small file costs to carry, and its acknowledgement.
pub(super) const KIBIBYTE: &str = "floor: loopback TCP, 1 KiB there and back";
/// The same for a larger one.
pub(super) const MEBIBYTE: &str = "floor: loopback TCP, 1 MiB there and back";
/// The file of the file measurements.
pub(super) const COPY: &str = "floor: 64 MiB over loopback TCP";

/// Measures every floor.
pub(super) fn measure(rounds: u32, rows: &mut Vec<Series>) -> anyhow::Result<()> {
    rows.push(machine(rounds)?);
    rows.push(spawn(SPAWN, rounds, &["/bin/true"])?);
    rows.push(spawn(SHELL, rounds, &["/bin/bash", "-c", "true"])?);
    rows.push(round_trip(ROUND_TRIP, rounds * 10, 64)?);
    rows.push(round_trip(KIBIBYTE, rounds, 1024)?);
    rows.push(round_trip(MEBIBYTE, rounds, 1024 * 1024)?);
    rows.push(copy()?);
    Ok(())
}

fn spawn(name: &str, rounds: u32, words: &[&str]) -> anyhow::Result<Series> {
    let mut series = Series::ms(name);
    for _ in 0..rounds {
        series.time(|| capture(command(words[0]).args(&words[1..])))?;
    }
    Ok(series)
}

fn machine(rounds: u32) -> anyhow::Result<Series> {
    let mut series = Series::ms(MACHINE);
    let scratch = repo::tools().join("bare");
    std::fs::create_dir_all(&scratch).context("make a place to mount on")?;
    for _ in 0..rounds {
        series.time(|| bare::run(&scratch))?;
    }
    Ok(series)
}

/// So many bytes there and, when all have arrived, back over loopback TCP.
fn round_trip(name: &str, rounds: u32, n_bytes: usize) -> anyhow::Result<Series> {
    let (mut near, mut far) = pair()?;
    let echo = std::thread::spawn(move || {
        let mut bytes = vec![0; n_bytes];
        while far.read_exact(&mut bytes).and_then(|()| far.write_all(&bytes)).is_ok() {}
    });
    let mut series = Series::ms(name);
    let mut bytes = vec![0; n_bytes];
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
    let mut series = Series::rate(COPY, FILE);
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
