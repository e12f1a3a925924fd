//! A TCP connection to the first of several addresses that answers, as RFC 8305 ("Happy Eyeballs", version 2) has it.
//!
//! Attempts begin one after the other, best address first, the families in turns (§4); the next one begins when the last has failed or has
//! not answered for [`NEXT_AFTER`] (§5). The first connection wins and the others are dropped. So a dead zone, or a family that leads nowhere,
//! costs a quarter of a second and not a timeout.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::staggered;

/// The "Connection Attempt Delay" that RFC 8305 §5 recommends.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Why there is no connection: what happened at the last address that was given up.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) address: SocketAddr,
    pub(crate) error: io::Error,
}

/// Connects, and says where; an attempt is given up after `limit`. Nothing when there are no addresses.
pub(crate) async fn connect(
    addresses: &[SocketAddr],
    limit: Duration,
) -> Option<Result<(SocketAddr, TcpStream), Lost>> {
    first_of(addresses, |address| async move {
        let silent = |_| {
            let words = format!("no answer within {} s", limit.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, words))
        };
        timeout(limit, TcpStream::connect(address)).await.unwrap_or_else(silent)
    })
    .await
}

async fn first_of<T, F>(
    addresses: &[SocketAddr],
    attempt: impl Fn(SocketAddr) -> F,
) -> Option<Result<(SocketAddr, T), Lost>>
where
    F: Future<Output = io::Result<T>>,
{
    let attempt = |address| {
        let started = attempt(address);
        async move {
            let ended = started.await;
            ended.map(|connection| (address, connection)).map_err(|error| Lost { address, error })
        }
    };
    match staggered::first(in_turns(addresses), NEXT_AFTER, attempt).await {
        Ok(reached) => Some(Ok(reached)),
        Err(mut lost) => lost.pop().map(Err),
    }
}

/// The families in turns, beginning with that of the best address; within a family as given.
fn in_turns(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut these, mut others): (VecDeque<_>, VecDeque<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first);
    let mut all = VecDeque::with_capacity(addresses.len());
    while let Some(address) = these.pop_front() {
        all.push_back(address);
        all.extend(others.pop_front());
    }
    all.extend(others);
    all
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::{Instant, sleep};

    use super::*;

    fn addresses(list: &str) -> Vec<SocketAddr> {
        list.split(' ').map(|address| address.parse().expect("an address")).collect()
    }

    /// What is tried when, in milliseconds, until `winner` answers at once; the others answer never, or refuse at once if they end in `:1`.
    async fn tried(list: &str, winner: &str) -> (Vec<(u64, String)>, bool) {
        let (begin, tried) = (Instant::now(), Mutex::new(Vec::new()));
        let ended = first_of(&addresses(list), |address| {
            let at = u64::try_from(begin.elapsed().as_millis()).expect("a short time");
            tried.lock().expect("unpoisoned").push((at, address.to_string()));
            let (wins, refuses) = (address.to_string() == winner, address.port() == 1);
            async move {
                if refuses {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                sleep(Duration::from_millis(if wins { 0 } else { 4000 })).await;
                if wins { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
            }
        })
        .await;
        (tried.into_inner().expect("unpoisoned"), ended.expect("addresses").is_ok())
    }

    fn at(times: &[(u64, &str)]) -> Vec<(u64, String)> {
        times.iter().map(|(at, address)| (*at, (*address).to_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_zone_costs_a_quarter_of_a_second_and_a_refusal_nothing() {
        let found = tried("10.0.0.1:2 10.0.0.2:1 10.0.0.3:2", "10.0.0.3:2").await;
        assert_eq!(found, (at(&[(0, "10.0.0.1:2"), (250, "10.0.0.2:1"), (250, "10.0.0.3:2")]), true));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_answers_all_are_tried_to_the_end() {
        let (tried, won) = tried("10.0.0.1:2 10.0.0.2:2", "").await;
        assert_eq!((tried, won), (at(&[(0, "10.0.0.1:2"), (250, "10.0.0.2:2")]), false));
        assert!(first_of(&[], |_| async { Ok(()) }).await.is_none());
    }

    #[test]
    fn families_take_turns() {
        let list = addresses("10.0.0.1:2 10.0.0.2:2 [fd00::1]:2 10.0.0.3:2 [fd00::2]:2");
        let expected = addresses("10.0.0.1:2 [fd00::1]:2 10.0.0.2:2 [fd00::2]:2 10.0.0.3:2");
        assert_eq!(Vec::from(in_turns(&list)), expected);
        let list = addresses("[fd00::1]:2 10.0.0.1:2");
        assert_eq!(Vec::from(in_turns(&list)), list);
    }

    #[tokio::test]
    async fn a_real_connection_is_had_past_a_refused_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let live = listener.local_addr().expect("an address");
        let dead = { std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address") };
        let (reached, connected) =
            connect(&[dead, live], Duration::from_secs(4)).await.expect("addresses").expect("a connection");
        assert_eq!((reached, connected.peer_addr().expect("an address")), (live, live));
        let lost = connect(&[dead], Duration::from_secs(4)).await.expect("addresses").expect_err("refused");
        assert_eq!((lost.address, lost.error.kind()), (dead, io::ErrorKind::ConnectionRefused));
    }
}
