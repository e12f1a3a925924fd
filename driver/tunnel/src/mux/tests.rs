use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;

const LAST: u32 = 1 << 31;
const PATIENCE: Duration = Duration::from_secs(600);

/// A record of so many bytes, or more if a call needs more, in fragments of at most so many.
fn record(message: &[u8], fragment: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = message.len().div_ceil(fragment);
    for (index, piece) in message.chunks(fragment).enumerate() {
        let last = if index + 1 == count { LAST } else { 0 };
        bytes.extend((u32::try_from(piece.len()).unwrap() | last).to_be_bytes());
        bytes.extend(piece);
    }
    bytes
}

/// A COMPOUND of NFSv4.1 that begins with SEQUENCE, so that it may be repeated.
fn call(xid: u32, length: usize) -> Vec<u8> {
    let words = [xid, 0, 2, 100_003, 4, 1, 0, 0, 0, 0, 0, 1, 1, 53];
    let mut message: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    message.resize(length.max(message.len()), 5);
    message
}

/// The answer, which repeats how long the call was.
fn reply(xid: u32, length: usize, call_length: usize) -> Vec<u8> {
    let mut message = [xid, 1, u32::try_from(call_length).unwrap()].map(u32::to_be_bytes).concat();
    message.resize(length.max(message.len()), 6);
    message
}

fn word(message: &[u8], index: usize) -> u32 {
    u32::from_be_bytes(message[4 * index..4 * index + 4].try_into().unwrap())
}

/// The next message, put together; `None` at the end.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mark = stream.read_u32().await.ok()?;
        let start = message.len();
        message.resize(start + (mark & !LAST) as usize, 0);
        stream.read_exact(&mut message[start..]).await.ok()?;
        if mark & LAST != 0 {
            return Some(message);
        }
    }
}

/// What the servers have done, by transaction id: how often each call came.
type Done = Arc<Mutex<HashMap<u32, usize>>>;

/// How a server behind one connection behaves.
#[derive(Clone, Debug)]
struct Server {
    /// It closes after so many calls, without an answer to the last.
    dies_after: Option<usize>,
    /// Between a call and its answer.
    pause: Duration,
    reply_length: usize,
    fragment: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self { dies_after: None, pause: Duration::ZERO, reply_length: 100, fragment: usize::MAX }
    }
}

impl Server {
    fn start(self, done: &Done) -> DuplexStream {
        let (near, far) = duplex(2000);
        let done = Arc::clone(done);
        tokio::spawn(async move {
            let (mut read, write) = split(far);
            let write = Arc::new(tokio::sync::Mutex::new(write));
            let mut count = 0;
            let mut tasks: Vec<JoinHandle<()>> = Vec::new();
            while let Some(message) = receive(&mut read).await {
                *done.lock().unwrap().entry(word(&message, 0)).or_default() += 1;
                count += 1;
                if self.dies_after == Some(count) {
                    // What is being written is cut off.
                    tasks.iter().for_each(JoinHandle::abort);
                    return;
                }
                let (write, server) = (Arc::clone(&write), self.clone());
                tasks.push(tokio::spawn(async move {
                    sleep(server.pause).await;
                    let answer = reply(word(&message, 0), server.reply_length, message.len());
                    let _gone = write.lock().await.write_all(&record(&answer, server.fragment)).await;
                }));
            }
        });
        near
    }
}

/// A kernel with a multiplexed connection.
struct Kernel {
    read: ReadHalf<DuplexStream>,
    write: WriteHalf<DuplexStream>,
    orders: mpsc::Sender<Order<DuplexStream>>,
    counts: Arc<Counts>,
    connections: Arc<AtomicUsize>,
    ended: JoinHandle<Result<Side, PumpError>>,
}

impl Kernel {
    async fn new(servers: &[Server], done: &Done) -> Self {
        let (kernel, local) = duplex(3000);
        let (orders, received) = mpsc::channel(16);
        let (counts, connections, traffic) = <(Arc<Counts>, Arc<AtomicUsize>, Arc<Traffic>)>::default();
        let first = servers[0].clone().start(done);
        for server in &servers[1..] {
            orders.send(Order::Add(server.clone().start(done))).await.unwrap();
        }
        let (theirs, number) = (Arc::clone(&counts), Arc::clone(&connections));
        let ended = tokio::spawn(async move { multiplex(local, first, received, &traffic, &theirs, &number).await });
        let (read, write) = split(kernel);
        Self { read, write, orders, counts, connections, ended }
    }

    /// Sends these calls, and gives the answers in the order in which they come, until all are there or the connection is cut.
    async fn talk(&mut self, calls: &[(u32, usize, usize)]) -> Vec<(u32, usize)> {
        let send = async {
            for (xid, length, fragment) in calls {
                if self.write.write_all(&record(&call(*xid, *length), *fragment)).await.is_err() {
                    return;
                }
            }
        };
        let hear = async {
            let mut answers = Vec::new();
            while answers.len() < calls.len() {
                let Some(answer) = receive(&mut self.read).await else { break };
                answers.push((word(&answer, 0), word(&answer, 2) as usize));
            }
            answers
        };
        let (_, answers) = tokio::join!(send, timeout(PATIENCE, hear));
        answers.unwrap_or_else(|_| panic!("{:?} {:?}", self.counts, self.connections))
    }
}

fn calls(count: u32) -> Vec<(u32, usize, usize)> {
    (1..=count).map(|xid| (xid, 100 + xid as usize % 7 * 50, usize::MAX)).collect()
}

fn lengths(calls: &[(u32, usize, usize)]) -> HashMap<u32, usize> {
    calls.iter().map(|(xid, length, _)| (*xid, (*length).max(56))).collect()
}

#[tokio::test(start_paused = true)]
async fn calls_spread_over_the_connections_and_each_is_answered_once() {
    let done = Done::default();
    let server = Server { pause: Duration::from_millis(5), ..Server::default() };
    let mut kernel = Kernel::new(&[server.clone(), server.clone(), server], &done).await;
    let calls = calls(300);
    let answers = kernel.talk(&calls).await;
    assert_eq!(answers.iter().copied().collect::<HashMap<_, _>>(), lengths(&calls));
    assert_eq!(answers.len(), calls.len());
    assert_eq!(kernel.connections.load(Ordering::Relaxed), 3);
    assert!(done.lock().unwrap().values().all(|count| *count == 1));
    drop((kernel.read, kernel.write));
    assert_eq!(kernel.ended.await.unwrap().unwrap(), Side::Local);
    assert_eq!(kernel.counts.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stalls_holds_up_no_other() {
    let done = Done::default();
    let stalled = Server { pause: Duration::from_secs(86_400), ..Server::default() };
    let mut kernel = Kernel::new(&[Server::default(), stalled, Server::default()], &done).await;
    let calls = calls(100);
    let send = async {
        for (xid, length, fragment) in &calls {
            kernel.write.write_all(&record(&call(*xid, *length), *fragment)).await.unwrap();
            // The kernel has answers before it goes on.
            sleep(Duration::from_millis(1)).await;
        }
    };
    let hear = async {
        let mut answered = HashSet::new();
        // One call waits on the stalled connection: from then on it has the most unanswered bytes.
        while answered.len() < calls.len() - 1 {
            answered.insert(word(&receive(&mut kernel.read).await.unwrap(), 0));
        }
    };
    timeout(PATIENCE, async { tokio::join!(send, hear) }).await.expect("the others go on");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_comes_slowly_does_not_hold_up_whole_ones() {
    let done = Done::default();
    let mut kernel = Kernel::new(&[Server::default(), Server::default()], &done).await;
    // Half a reply, by hand.
    let (near, mut far) = duplex(2000);
    kernel.orders.send(Order::Add(near)).await.unwrap();
    far.write_all(&record(&reply(77, 1000, 0), usize::MAX)[..500]).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(kernel.talk(&calls(2)).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reply_of_a_large_read_that_comes_slowly_does_not_hold_up_whole_ones() {
    const LARGE: usize = 1024 * 1024;
    let done = Done::default();
    let mut kernel = Kernel::new(&[Server::default(), Server::default()], &done).await;
    let (near, mut slow) = duplex(2 * LARGE);
    kernel.orders.send(Order::Add(near)).await.unwrap();
    slow.write_all(&record(&reply(77, LARGE, 0), usize::MAX)[..LARGE * 3 / 4]).await.unwrap();
    sleep(Duration::from_millis(1)).await;
    let (near, mut quick) = duplex(2 * LARGE);
    kernel.orders.send(Order::Add(near)).await.unwrap();
    quick.write_all(&record(&reply(78, LARGE, 0), usize::MAX)).await.unwrap();
    let answer = timeout(PATIENCE, receive(&mut kernel.read)).await.expect("it is whole").unwrap();
    assert_eq!(word(&answer, 0), 78);
}

#[tokio::test(start_paused = true)]
async fn replies_without_end_are_held_up_to_a_limit_and_one_of_them_goes_on() {
    const LANES: usize = 5;
    let (orders, received) = mpsc::channel(16);
    let (mut near, mut far): (Vec<_>, Vec<_>) = (0..LANES).map(|_| duplex(1000)).unzip();
    let first = near.remove(0);
    for lane in near {
        orders.send(Order::Add(lane)).await.unwrap();
    }
    let (mut kernel, local) = duplex(1000);
    let (traffic, counts, connections) = (Traffic::default(), Counts::default(), AtomicUsize::new(0));
    let endless = record(&reply(7, 3 * 1024 * 1024, 0), usize::MAX);
    let held = AtomicUsize::new(0);
    let tell = async {
        futures::future::join_all(far.iter_mut().map(async |far| {
            for piece in endless.chunks(500) {
                far.write_all(piece).await.unwrap();
                held.fetch_add(piece.len(), Ordering::Relaxed);
            }
        }))
        .await
    };
    let hear = async {
        // Nobody listens at first.
        sleep(Duration::from_secs(5)).await;
        let most = REPLIES_SHARED + LANES * (256 * 1024) + LANES * 2000 + 1000;
        let held = held.load(Ordering::Relaxed);
        assert!(held > REPLIES_SHARED / 2 && held <= most, "{held} bytes are held, of at most {most}");
        assert_eq!(receive(&mut kernel).await.unwrap().len(), endless.len() - 4);
    };
    tokio::select! {
        ended = multiplex(local, first, received, &traffic, &counts, &connections) => panic!("{ended:?}"),
        _ = tell => panic!("all of it was taken"),
        heard = timeout(PATIENCE, hear) => heard.expect("one goes on"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_connection_has_not_answered_is_sent_again() {
    let done = Done::default();
    let slow = Duration::from_millis(5);
    let mortal = Server { dies_after: Some(10), pause: slow, ..Server::default() };
    let immortal = Server { pause: slow, ..Server::default() };
    let mut kernel = Kernel::new(&[immortal.clone(), mortal, immortal], &done).await;
    let calls = calls(200);
    let answers = kernel.talk(&calls).await;
    assert_eq!(answers.len(), calls.len());
    assert_eq!(answers.into_iter().collect::<HashMap<_, _>>(), lengths(&calls));
    assert_eq!(kernel.counts.lost.load(Ordering::Relaxed), 1);
    // Those that it had not read yet, too.
    assert!(kernel.counts.resent.load(Ordering::Relaxed) >= 1);
    assert_eq!(kernel.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_again_cuts_the_kernels_connection() {
    let done = Done::default();
    let mortal = Server { dies_after: Some(1), ..Server::default() };
    let mut kernel = Kernel::new(&[mortal.clone(), mortal], &done).await;
    // Larger than what is kept.
    let answers = kernel.talk(&[(1, KEPT_MAX + 1, usize::MAX)]).await;
    assert!(answers.is_empty());
    let ended = kernel.ended.await.unwrap();
    assert!(matches!(ended, Err(PumpError::Side { side: Side::Upstream, .. })), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retired_connection_answers_what_it_has_and_goes() {
    let done = Done::default();
    let server = Server { pause: Duration::from_millis(50), ..Server::default() };
    let mut kernel = Kernel::new(&[server.clone(), server.clone(), server], &done).await;
    let orders = kernel.orders.clone();
    let retire = async {
        sleep(Duration::from_millis(10)).await;
        for _ in 0..5 {
            orders.send(Order::Retire).await.unwrap();
        }
    };
    let calls = calls(50);
    let (answers, ()) = tokio::join!(kernel.talk(&calls), retire);
    assert_eq!(answers.into_iter().collect::<HashMap<_, _>>(), lengths(&calls));
    while kernel.connections.load(Ordering::Relaxed) > 1 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(kernel.talk(&self::calls(5)).await.len(), 5, "one is left");
    assert_eq!(kernel.counts.lost.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn the_server_may_call_back_and_gets_the_answer_where_it_asked() {
    let (near, mut asking) = duplex(2000);
    let (other, _quiet) = duplex(2000);
    let (kernel, local) = duplex(2000);
    let (orders, received) = mpsc::channel(4);
    orders.send(Order::Add(other)).await.unwrap();
    orders.send(Order::Add(near)).await.unwrap();
    let first = duplex(10).0;
    let (traffic, counts, connections) = (Traffic::default(), Counts::default(), AtomicUsize::new(0));
    let (mut read, mut write) = split(kernel);
    let talk = async {
        asking.write_all(&record(&call(9, 60), usize::MAX)).await.unwrap();
        let asked = receive(&mut read).await.unwrap();
        assert_eq!((word(&asked, 0), word(&asked, 1)), (9, 0));
        write.write_all(&record(&reply(9, 20, 0), usize::MAX)).await.unwrap();
        let answer = receive(&mut asking).await.unwrap();
        assert_eq!((word(&answer, 0), word(&answer, 1)), (9, 1));
    };
    tokio::select! {
        ended = multiplex(local, first, received, &traffic, &counts, &connections) => panic!("{ended:?}"),
        talked = timeout(PATIENCE, talk) => talked.unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_no_records_is_let_go_and_the_kernel_that_does_is_told() {
    let done = Done::default();
    let mut kernel = Kernel::new(&[Server::default(), Server::default()], &done).await;
    let (near, mut far) = duplex(2000);
    kernel.orders.send(Order::Add(near)).await.unwrap();
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let calls = calls(20);
    assert_eq!(kernel.talk(&calls).await.len(), calls.len());
    assert_eq!(kernel.connections.load(Ordering::Relaxed), 2);
    kernel.write.write_all(&[0xff; 16]).await.unwrap();
    let ended = kernel.ended.await.unwrap();
    assert!(matches!(ended, Err(PumpError::Record { side: Side::Local, .. })), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn servers_that_take_nothing_stop_the_kernel_instead_of_filling_memory() {
    let (orders, received) = mpsc::channel(16);
    // Their other ends are kept, and never read.
    let (lanes, _far): (Vec<_>, Vec<_>) = (0..5).map(|_| duplex(1000)).unzip();
    let mut lanes = lanes.into_iter();
    let first = lanes.next().unwrap();
    for lane in lanes {
        orders.send(Order::Add(lane)).await.unwrap();
    }
    let (mut kernel, local) = duplex(1000);
    let (traffic, counts, connections) = (Traffic::default(), Counts::default(), AtomicUsize::new(0));
    let mut written = 0;
    let write = async {
        for xid in 0.. {
            for piece in record(&call(xid, 1024 * 1024), usize::MAX).chunks(1000) {
                kernel.write_all(piece).await.unwrap();
                written += piece.len();
            }
        }
    };
    let stuck = timeout(Duration::from_secs(10), async {
        tokio::select! {
            ended = multiplex(local, first, received, &traffic, &counts, &connections) => panic!("{ended:?}"),
            () = write => {}
        }
    });
    stuck.await.expect_err("the kernel is never stopped");
    let most = WAITING_MAX + 2 * BUSY_BUFFER + 6000;
    assert!(written <= most, "{written} bytes are held, of at most {most}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any split of any records over any connections of which any may be lost but one: each call gets exactly one answer, whole.
    #[test]
    fn each_call_gets_exactly_one_answer(
        sizes in prop::collection::vec((0..3000_usize, 12..700_usize), 1..120),
        servers in prop::collection::vec((prop::option::of(1..20_usize), 0..20_u64, 12..4000_usize, 8..900_usize), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let done = Done::default();
            let mut all: Vec<Server> = servers
                .iter()
                .map(|(dies_after, pause, reply_length, fragment)| Server {
                    dies_after: *dies_after,
                    pause: Duration::from_millis(*pause),
                    reply_length: *reply_length,
                    fragment: *fragment,
                })
                .collect();
            // Two that stay: with one alone, nothing is kept.
            all.insert(0, Server::default());
            all.insert(1, Server { pause: Duration::from_millis(3), ..Server::default() });
            let mut kernel = Kernel::new(&all, &done).await;
            let calls: Vec<_> =
                sizes.iter().zip(1..).map(|((length, fragment), xid)| (xid, *length, *fragment)).collect();
            let answers = kernel.talk(&calls).await;
            if kernel.ended.is_finished() {
                panic!("cut off: {:?}", kernel.ended.await);
            }
            assert_eq!(answers.len(), calls.len());
            assert_eq!(answers.into_iter().collect::<HashMap<_, _>>(), lengths(&calls));
            let mortal = all.iter().filter(|server| server.dies_after.is_some()).count() as u64;
            assert!(kernel.counts.lost.load(Ordering::Relaxed) <= mortal);
            assert!(!kernel.ended.is_finished());
        });
    }
}
