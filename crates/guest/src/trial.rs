//! What a trial of checkpoints looks at: a connection with both ends in this
//! process, and a count that only its memory knows.
//!
//! Beside the daemon, on a machine that the host makes to find out whether memory
//! can be written down here; no sandbox of a client has it. Whoever connects is
//! answered with one line, `<name> <count>`, that went through the connection.

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Random, and another at each reading.
const NAME: &str = "/proc/sys/kernel/random/uuid";

/// Answers on loopback until something fails.
pub(crate) async fn serve(port: u16) -> io::Result<()> {
    let name = std::fs::read_to_string(NAME)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (mut near, (mut far, _)) = (near?, far?);
    for count in 1_u64.. {
        let (mut asker, _) = listener.accept().await?;
        let said = format!("{} {count}\n", name.trim());
        near.write_all(said.as_bytes()).await?;
        let mut heard = vec![0; said.len()];
        far.read_exact(&mut heard).await?;
        // An asker that is gone asks again.
        let _ = asker.write_all(&heard).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(port: u16) -> String {
        let mut answer = String::new();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_asker_gets_the_next_number_of_one_name() {
        let free =
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let asking = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, free)).await.is_err() {
                tokio::task::yield_now().await;
            }
            (ask(free).await, ask(free).await)
        };
        let (first, second) = tokio::select! {
            answers = asking => answers,
            ended = serve(free) => panic!("it ended: {ended:?}"),
        };
        // The look whether it listens counted as the first.
        let (name, number) = first.trim().rsplit_once(' ').unwrap();
        assert_eq!(second, format!("{name} {}\n", number.parse::<u64>().unwrap() + 1));
        assert_eq!(name.len(), 36);
    }
}
