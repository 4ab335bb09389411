//! A peer of our own making, honest and not.

use tokio::net::UnixListener;

use super::*;

/// Connects a client to a peer that sends `wire` after an honest handshake.
async fn client_of(wire: Vec<u8>, max_message: u64) -> Reader {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut theirs = [0; GREETING_LEN];
        stream.write_all(&greeting()).await.unwrap();
        stream.read_exact(&mut theirs).await.unwrap();
        assert_eq!(theirs, greeting());
        stream.write_all(&ready(Kind::Dealer)).await.unwrap();
        // The peer may be refused before it has said everything.
        _ = stream.write_all(&wire).await;
        let mut rest = Vec::new();
        _ = stream.read_to_end(&mut rest).await;
    });
    connect(&path, Kind::Dealer, max_message).await.unwrap().0
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut wire = vec![flags | LONG];
    wire.extend_from_slice(&(body.len() as u64).to_be_bytes());
    wire.extend_from_slice(body);
    wire
}

#[tokio::test]
async fn frames_of_any_length_form_messages() {
    let large = vec![7; 3 << 20];
    let wire = [frame(MORE, b"a"), vec![COMMAND, 1, b'x'], frame(0, &large), vec![0, 2, b'h', b'i']].concat();
    let mut reader = client_of(wire, 8 << 20).await;
    let first = reader.receive().await.unwrap();
    assert_eq!(first.frames.len(), 2);
    assert_eq!(&first.frames[0][..], b"a");
    assert_eq!(first.frames[1], large);
    assert_eq!(&reader.receive().await.unwrap().frames[0][..], b"hi");
}

#[tokio::test]
async fn what_is_too_large_is_skipped_and_counted() {
    let wire = [frame(MORE, b"head"), frame(0, &vec![7; 1 << 20]), frame(0, b"next")].concat();
    let mut reader = client_of(wire, 1000).await;
    let first = reader.receive().await.unwrap();
    assert_eq!(&first.frames[0][..], b"head");
    assert!(first.frames[1].is_empty());
    assert_eq!(first.skipped, 1 << 20);
    let next = reader.receive().await.unwrap();
    assert_eq!((&next.frames[0][..], next.skipped), (&b"next"[..], 0));
}

#[tokio::test]
async fn absurd_lengths_end_the_connection() {
    for flags in [LONG, LONG | COMMAND, LONG | MORE] {
        let wire = [vec![flags], u64::MAX.to_be_bytes().to_vec()].concat();
        let error = client_of(wire, 1000).await.receive().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn frames_beyond_the_bound_are_skipped_and_the_next_message_is_read() {
    let many = frame(MORE, b"x").repeat(MAX_FRAMES + 900);
    let mut reader = client_of([many, frame(0, b"last"), frame(0, b"next")].concat(), 1000).await;
    let first = reader.receive().await.unwrap();
    assert_eq!((first.frames.len(), first.skipped), (MAX_FRAMES, 904));
    assert_eq!(&reader.receive().await.unwrap().frames[0][..], b"next");
}
