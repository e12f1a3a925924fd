//! Input that nobody should send: to the HTTP router, the RPC framing, the decoder of NFS requests and the reader of client
//! certificates. What has to hold for every input: no panic anywhere in the process, an answer in the protocol's own shape or a
//! closed connection, and a server that goes on serving the next client.
//!
//! A plain run makes so many rounds from a fixed seed, the same ones every time. `FUZZ_SECONDS=N` goes on for so long from a new
//! seed, which is printed; `FUZZ_SEED=S FUZZ_ROUNDS=1` repeats the round that failed.
#![allow(clippy::unwrap_used, reason = "a test that can not go on must panic")]

#[path = "fuzz/buckets.rs"]
mod buckets;
#[path = "fuzz/certificates.rs"]
mod certificates;
#[path = "wire/client.rs"]
#[allow(dead_code, reason = "this target uses a part")]
mod client;
#[path = "fuzz/compounds.rs"]
mod compounds;
#[path = "fuzz/framing.rs"]
mod framing;
#[path = "fuzz/mutation.rs"]
mod mutation;
#[path = "fuzz/replays.rs"]
mod replays;
#[path = "fuzz/requests.rs"]
mod requests;
#[path = "fuzz/rounds.rs"]
mod rounds;
#[path = "wire/server.rs"]
mod server;
