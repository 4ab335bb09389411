//! The helper's side: a loop without threads, timers or state.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use sys::exec::{Program, Step, spawn_sibling};

use super::request::{MAX_MESSAGE, Reply, Request, Session};

/// First argument of the binary when it is to be the helper; its standard input
/// is then the socket to the daemon.
pub const HELPER_ARG: &str = "exec-helper";

/// Users' processes are offered to the kernel before the daemon.
const OOM_SCORE_ADJ: i16 = 100;

/// Serves the daemon at the other end of `socket` until that is closed.
pub fn serve(socket: OwnedFd) -> io::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut socket = File::from(socket);
    while let Some((len, stdio)) = receive_header(&socket)? {
        let mut payload = vec![0; len];
        socket.read_exact(&mut payload)?;
        let reply = match serde_json::from_slice::<Request>(&payload) {
            Ok(request) => start(&request, &stdio),
            Err(error) => Reply::Failed { refused: false, message: error.to_string() },
        };
        drop(stdio);
        let reply = serde_json::to_vec(&reply).map_err(io::Error::other)?;
        let len = u32::try_from(reply.len()).map_err(io::Error::other)?;
        socket.write_all(&[&len.to_ne_bytes()[..], &reply].concat())?;
    }
    Ok(())
}

/// Length of the next request and its standard descriptors; `None` at the end.
fn receive_header(socket: &File) -> io::Result<Option<(usize, [OwnedFd; 3])>> {
    let mut len = [0u8; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut len)], &mut control, flags)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let stdio: [OwnedFd; 3] =
        fds.try_into().map_err(|_| io::Error::other("request without its descriptors"))?;
    let len = u32::from_ne_bytes(len) as usize;
    if received.bytes != 4 || len > MAX_MESSAGE {
        return Err(io::Error::other("malformed request"));
    }
    Ok(Some((len, stdio)))
}

fn start(request: &Request, stdio: &[OwnedFd; 3]) -> Reply {
    let program = match program(request) {
        Ok(program) => program,
        Err(nul) => return Reply::Failed { refused: true, message: nul.to_string() },
    };
    match spawn_sibling(&program, [stdio[0].as_fd(), stdio[1].as_fd(), stdio[2].as_fd()]) {
        Ok(pid) => Reply::Started { pid: pid.as_raw_nonzero().get() },
        Err(error) => {
            let refused = error.step == Step::Cwd;
            let subject = if refused { format!("chdir {}", request.cwd) } else { error.to_string() };
            Reply::Failed { refused, message: format!("{subject}: {}", error.source) }
        }
    }
}

fn program(request: &Request) -> Result<Program, std::ffi::NulError> {
    let strings =
        |list: &[String]| list.iter().map(|s| CString::new(s.as_str())).collect::<Result<Vec<_>, _>>();
    Ok(Program {
        candidates: strings(&candidates(request))?,
        argv: strings(&request.argv)?,
        env: request
            .env
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")))
            .collect::<Result<_, _>>()?,
        cwd: CString::new(request.cwd.as_str())?,
        uid: request.uid,
        gid: request.gid,
        groups: request.groups.clone(),
        session: match request.session {
            Session::Inherit => sys::exec::Session::Inherit,
            Session::Group => sys::exec::Session::Group,
            Session::Terminal => sys::exec::Session::Terminal,
        },
        oom_score_adj: OOM_SCORE_ADJ,
    })
}

/// A name without a slash is looked for in the new process's own `PATH`.
fn candidates(request: &Request) -> Vec<String> {
    let Some(name) = request.argv.first() else { return Vec::new() };
    if name.contains('/') {
        return vec![name.clone()];
    }
    let path = request.env.iter().rev().find(|(key, _)| key == "PATH").map_or("", |(_, value)| value);
    path.split(':').map(|dir| if dir.is_empty() { name.clone() } else { format!("{dir}/{name}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_path_is_the_new_process_own() {
        let mut request = Request {
            argv: vec!["ls".into()],
            env: vec![("PATH".into(), "/a:/b".into()), ("PATH".into(), "/c::/d".into())],
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            groups: vec![],
            session: Session::Inherit,
        };
        assert_eq!(candidates(&request), ["/c/ls", "ls", "/d/ls"]);
        request.argv[0] = "./ls".into();
        assert_eq!(candidates(&request), ["./ls"]);
    }
}
