//! Whatever a caller's gRPC library calls a Unix socket, its calls are answered.

use std::time::Duration;

use bytes::{Buf, BufMut};
use csi_proto::csi::identity_server::IdentityServer;
use efs_csi_driver::config::Endpoint;
use efs_csi_driver::identity::IdentityService;
use efs_csi_driver::metrics::Metrics;
use efs_csi_driver::server::{Listener, serve};
use loona_hpack::{Decoder, Encoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const RST_STREAM: u8 = 3;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_uint(payload.len() as u64, 3);
    frame.put_slice(&[kind, flags]);
    frame.put_u32(stream);
    frame.put_slice(payload);
    frame
}

/// A Probe as HTTP/2 bytes: no client of this language can be made to send such an authority.
fn probe(authority: &str) -> Vec<u8> {
    let headers: [(&[u8], &[u8]); 6] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/csi.v1.Identity/Probe"),
        (b":authority", authority.as_bytes()),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let block = Encoder::new().encode(headers);
    let empty_message = [0; 5];
    [preface, frame(SETTINGS, 0, 0, &[]), frame(HEADERS, 4, 1, &block), frame(DATA, 1, 1, &empty_message)].concat()
}

/// The gRPC status of the answer to the only call of a connection.
async fn status(stream: &mut UnixStream) -> String {
    let mut decoder = Decoder::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await.expect("an answer");
        let mut payload = vec![0; usize::try_from((&header[..]).get_uint(3)).expect("short")];
        stream.read_exact(&mut payload).await.expect("a frame");
        match header[3] {
            HEADERS => {
                let headers = decoder.decode(&payload).expect("headers");
                if let Some((_, status)) = headers.into_iter().find(|(name, _)| name == b"grpc-status") {
                    return String::from_utf8(status).expect("a number");
                }
            }
            RST_STREAM | GOAWAY => panic!("refused: frame {} {payload:?}", header[3]),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_sockets_path_is_no_reason_to_refuse_a_call() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("csi.sock");
    let listener = Listener::bind(&Endpoint::Unix(path.clone())).await.expect("bind");
    let (_ready, is_ready) = watch::channel(true);
    let routes = Routes::new(IdentityServer::new(IdentityService::new(is_ready)));
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(listener, routes, Metrics::new(), shutdown.clone()));
    for authority in ["localhost", "/csi/csi.sock", "%2Fcsi%2Fcsi.sock", ""] {
        let mut stream = UnixStream::connect(&path).await.expect("connect");
        stream.write_all(&probe(authority)).await.expect("send");
        let status = tokio::time::timeout(Duration::from_secs(20), status(&mut stream)).await;
        assert_eq!(status.expect("no answer"), "0", "{authority:?}");
    }
    shutdown.cancel();
    server.await.expect("no panic").expect("a clean end");
}
