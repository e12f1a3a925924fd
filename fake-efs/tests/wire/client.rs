//! A client that speaks RPC itself, so that it can also say what no real client would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fake_efs::nfs::xdr::{Decoder, Encoder};

pub(crate) const OK: u32 = 0;

/// One operation, encoded.
pub(crate) type Op = Vec<u8>;

/// A connection, with a session once [`Wire::establish`] was called.
pub(crate) struct Wire {
    stream: TcpStream,
    /// Of the last call.
    pub(crate) xid: u32,
    pub(crate) client: u64,
    pub(crate) session: [u8; 16],
    pub(crate) sequence: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) gids: Vec<u32>,
}

/// The results of a COMPOUND behind those of SEQUENCE.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u32,
    /// Number of results, SEQUENCE's included.
    pub(crate) count: u32,
    body: Vec<u8>,
    at: usize,
}

impl Reply {
    fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.body[self.at..])
    }

    fn take<T>(&mut self, read: impl FnOnce(&mut Decoder<'_>) -> T) -> T {
        let mut decoder = self.decoder();
        let value = read(&mut decoder);
        self.at = self.body.len() - decoder.rest().len();
        value
    }

    /// The head of the next result, which must be of this operation and successful.
    pub(crate) fn op(&mut self, number: u32) -> &mut Self {
        let head = self.take(|d| (d.u32().unwrap(), d.u32().unwrap()));
        assert_eq!(head, (number, OK), "operation and status");
        self
    }

    /// The head of the next result with its status.
    pub(crate) fn head(&mut self) -> (u32, u32) {
        self.take(|d| (d.u32().unwrap(), d.u32().unwrap()))
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.take(|d| d.u32().unwrap())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.take(|d| d.u64().unwrap())
    }

    pub(crate) fn opaque(&mut self) -> Vec<u8> {
        self.take(|d| d.opaque(usize::MAX).unwrap().to_vec())
    }

    pub(crate) fn words(&mut self) -> Vec<u32> {
        self.take(|d| d.words(usize::MAX).unwrap())
    }

    pub(crate) fn stateid(&mut self) -> [u8; 16] {
        self.take(|d| d.array().unwrap())
    }

    /// The rest of OPEN's result behind its head.
    pub(crate) fn open(&mut self) -> [u8; 16] {
        let stateid = self.stateid();
        self.take(|d| d.fixed(20).map(|_| ()).unwrap());
        self.u32();
        self.words();
        assert_eq!(self.u32(), 0, "a delegation was given");
        stateid
    }

    pub(crate) fn rest(&self) -> &[u8] {
        self.decoder().rest()
    }
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, xid: 1, client: 0, session: [0; 16], sequence: 0, uid: 0, gid: 0, gids: Vec::new() }
    }

    /// A new connection of the same client, on which the next call repeats the last transaction.
    pub(crate) fn reconnect(&self, address: SocketAddr) -> Self {
        let Self { client, session, sequence, uid, gid, .. } = *self;
        let (xid, gids) = (self.xid - 1, self.gids.clone());
        Self { client, session, sequence, uid, gid, xid, gids, ..Self::connect(address) }
    }

    /// A connection with a client and a session, and nothing to claim back.
    pub(crate) fn session(address: SocketAddr, name: &str) -> Self {
        let mut wire = Self::connect(address);
        wire.establish(name, 1);
        wire.begin();
        wire
    }

    /// Says that there is nothing to claim back, in the second slot.
    pub(crate) fn begin(&mut self) {
        let reply = self.compound(1, &[sequence(self.session, 1, 1, 1, false), reclaim_complete()]);
        assert_eq!(reply.status, OK);
    }

    pub(crate) fn establish(&mut self, name: &str, verifier: u8) {
        let mut reply = self.compound(1, &[exchange_id(name, verifier, 0)]);
        assert_eq!(reply.status, OK);
        reply.op(42);
        self.client = reply.u64();
        let sequence = reply.u32();
        let mut reply = self.compound(1, &[create_session(self.client, sequence)]);
        assert_eq!(reply.status, OK);
        reply.op(43);
        self.session = reply.stateid();
        self.sequence = 0;
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a record of one fragment.
    pub(crate) fn send_record(&mut self, record: &[u8]) {
        let mut bytes = (record.len() as u32 | 0x8000_0000).to_be_bytes().to_vec();
        bytes.extend_from_slice(record);
        self.send(&bytes);
    }

    /// Exactly so many bytes as they come.
    pub(crate) fn receive_bytes(&mut self, bytes: &mut [u8]) {
        self.stream.read_exact(bytes).unwrap();
    }

    /// The next record, or `None` when the server has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        let mut head = [0; 4];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer"),
            Err(_) => return None,
        }
        let head = u32::from_be_bytes(head);
        assert!(head & 0x8000_0000 != 0, "replies are one fragment");
        let mut record = vec![0; (head & 0x7fff_ffff) as usize];
        self.stream.read_exact(&mut record).unwrap();
        Some(record)
    }

    /// Head of a call with AUTH_SYS.
    pub(crate) fn call_head(&mut self, program: u32, version: u32, procedure: u32) -> Encoder {
        self.xid += 1;
        let mut credential = Encoder::default();
        credential.u32(0).opaque(b"test").u32(self.uid).u32(self.gid).words(&self.gids);
        let mut call = Encoder::default();
        call.u32(self.xid).u32(0).u32(2).u32(program).u32(version).u32(procedure);
        call.u32(1).opaque(&credential.buffer).u32(0).u32(0);
        call
    }

    /// A call; what follows the xid in the reply.
    pub(crate) fn call(&mut self, program: u32, version: u32, procedure: u32, body: &[u8]) -> Vec<u8> {
        let mut call = self.call_head(program, version, procedure);
        call.buffer.extend_from_slice(body);
        let call = call.buffer;
        self.send_record(&call);
        let reply = self.receive().expect("the connection was closed");
        assert_eq!(reply[..4], self.xid.to_be_bytes());
        reply[4..].to_vec()
    }

    /// A COMPOUND as it is.
    pub(crate) fn compound(&mut self, minor: u32, ops: &[Op]) -> Reply {
        self.compound_body(&compound_body(minor, ops))
    }

    pub(crate) fn compound_body(&mut self, body: &[u8]) -> Reply {
        let reply = self.call(100_003, 4, 1, body);
        let mut decoder = Decoder::new(&reply);
        let head: Vec<u32> = (0..5).map(|_| decoder.u32().unwrap()).collect();
        assert_eq!(head, [1, 0, 0, 0, 0], "the call was not accepted");
        let status = decoder.u32().unwrap();
        decoder.opaque(1024).unwrap();
        let count = decoder.u32().unwrap();
        Reply { status, count, body: decoder.rest().to_vec(), at: 0 }
    }

    /// A COMPOUND in the session's first slot.
    pub(crate) fn run(&mut self, ops: &[Op]) -> Reply {
        self.run_cached(ops, false)
    }

    /// The same, saying whether the reply is to be kept for repetition.
    pub(crate) fn run_cached(&mut self, ops: &[Op], cache: bool) -> Reply {
        self.sequence += 1;
        let head = sequence(self.session, self.sequence, 0, 0, cache);
        let ops: Vec<Op> = std::iter::once(head).chain(ops.iter().cloned()).collect();
        let mut reply = self.compound(1, &ops);
        if reply.count > 0 && reply.head() == (53, OK) {
            reply.take(|d| d.fixed(36).map(|_| ()).unwrap());
        }
        reply
    }

    /// Opens a file in the root directory and says its state id and handle.
    pub(crate) fn open(&mut self, name: &str, access: u32) -> ([u8; 16], Vec<u8>) {
        let mut reply = self.run(&[putrootfh(), open(self.client, b"owner", access, name.as_bytes()), getfh()]);
        assert_eq!(reply.status, OK);
        let stateid = reply.op(24).op(18).open();
        let handle = reply.op(10).opaque();
        (stateid, handle)
    }
}

pub(crate) fn compound_body(minor: u32, ops: &[Op]) -> Vec<u8> {
    let mut body = Encoder::default();
    body.opaque(b"tag").u32(minor).u32(ops.len() as u32);
    for op in ops {
        body.buffer.extend_from_slice(op);
    }
    body.buffer
}

fn op(number: u32, arguments: impl FnOnce(&mut Encoder)) -> Op {
    let mut encoder = Encoder::default();
    encoder.u32(number);
    arguments(&mut encoder);
    encoder.buffer
}

/// An operation with these words as arguments.
pub(crate) fn words(number: u32, arguments: &[u32]) -> Op {
    op(number, |e| {
        for word in arguments {
            e.u32(*word);
        }
    })
}

pub(crate) fn exchange_id(name: &str, verifier: u8, flags: u32) -> Op {
    op(42, |e| {
        e.fixed(&[verifier; 8]).opaque(name.as_bytes()).u32(flags).u32(0).u32(0);
    })
}

/// EXCHANGE_ID that asks for state protection by a machine's credentials.
pub(crate) fn exchange_id_of_machine() -> Op {
    op(42, |e| {
        e.fixed(&[1; 8]).opaque(b"protected").u32(0).u32(1).words(&[]).words(&[]).u32(0);
    })
}

/// EXCHANGE_ID that asks for state protection by a secret: so many algorithms of both kinds, and versions of the secret.
pub(crate) fn exchange_id_of_secret([hashes, ciphers]: [u32; 2], window: u32) -> Op {
    op(42, |e| {
        e.fixed(&[1; 8]).opaque(b"protected").u32(0).u32(2).words(&[]).words(&[]);
        for count in [hashes, ciphers] {
            e.u32(count);
            (0..count).for_each(|_| {
                e.opaque(&[6, 5, 43, 14, 3, 2, 26]);
            });
        }
        e.u32(window).u32(1).u32(0);
    })
}

pub(crate) fn create_session(client: u64, sequence: u32) -> Op {
    create_session_with(client, sequence, 0, [(1 << 20) + 8192, (1 << 20) + 8192, 4096, 64, 4])
}

/// CREATE_SESSION; the channel is request size, response size, cached size, operations, requests.
pub(crate) fn create_session_with(client: u64, sequence: u32, flags: u32, channel: [u32; 5]) -> Op {
    create_session_channels(client, sequence, flags, [channel, [4096, 4096, 0, 2, 1]])
}

/// CREATE_SESSION with both channels.
pub(crate) fn create_session_channels(client: u64, sequence: u32, flags: u32, channels: [[u32; 5]; 2]) -> Op {
    op(43, |e| {
        e.u64(client).u32(sequence).u32(flags);
        for channel in channels {
            e.u32(0);
            channel.iter().for_each(|word| {
                e.u32(*word);
            });
            e.u32(0);
        }
        e.u32(0x4000_0000).words(&[]);
    })
}

pub(crate) fn sequence(session: [u8; 16], number: u32, slot: u32, highest: u32, cache: bool) -> Op {
    op(53, |e| {
        e.fixed(&session).u32(number).u32(slot).u32(highest).boolean(cache);
    })
}

pub(crate) fn destroy_session(session: [u8; 16]) -> Op {
    op(44, |e| {
        e.fixed(&session);
    })
}

pub(crate) fn destroy_clientid(client: u64) -> Op {
    op(57, |e| {
        e.u64(client);
    })
}

pub(crate) fn bind_connection(session: [u8; 16], direction: u32) -> Op {
    op(41, |e| {
        e.fixed(&session).u32(direction).u32(0);
    })
}

pub(crate) fn reclaim_complete() -> Op {
    words(58, &[0])
}

pub(crate) fn putrootfh() -> Op {
    words(24, &[])
}

pub(crate) fn putfh(handle: &[u8]) -> Op {
    op(22, |e| {
        e.opaque(handle);
    })
}

pub(crate) fn getfh() -> Op {
    words(10, &[])
}

pub(crate) fn savefh() -> Op {
    words(32, &[])
}

pub(crate) fn restorefh() -> Op {
    words(31, &[])
}

pub(crate) fn lookup(name: &[u8]) -> Op {
    op(15, |e| {
        e.opaque(name);
    })
}

pub(crate) fn lookupp() -> Op {
    words(16, &[])
}

pub(crate) fn readlink() -> Op {
    words(27, &[])
}

pub(crate) fn access(bits: u32) -> Op {
    words(3, &[bits])
}

fn bitmap(e: &mut Encoder, attributes: &[u32]) {
    let mut bits = [0u32; 3];
    for attribute in attributes {
        bits[(attribute / 32) as usize] |= 1 << (attribute % 32);
    }
    e.words(&bits);
}

pub(crate) fn getattr(attributes: &[u32]) -> Op {
    op(9, |e| bitmap(e, attributes))
}

/// Attributes to be set: numbers and their encoded values.
pub(crate) type Attrs<'a> = (&'a [u32], &'a [u8]);

fn fattr(e: &mut Encoder, (attributes, values): Attrs<'_>) {
    bitmap(e, attributes);
    e.opaque(values);
}

pub(crate) fn mode(mode: u32) -> Vec<u8> {
    mode.to_be_bytes().to_vec()
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut e = Encoder::default();
    e.opaque(text.as_bytes());
    e.buffer
}

pub(crate) fn setattr(stateid: [u8; 16], attrs: Attrs<'_>) -> Op {
    op(34, |e| {
        e.fixed(&stateid);
        fattr(e, attrs);
    })
}

pub(crate) fn verify(attrs: Attrs<'_>) -> Op {
    op(37, |e| fattr(e, attrs))
}

pub(crate) fn nverify(attrs: Attrs<'_>) -> Op {
    op(17, |e| fattr(e, attrs))
}

pub(crate) fn mkdir(name: &[u8]) -> Op {
    create(2, name, (&[33], &mode(0o755)))
}

/// CREATE of a kind without further data.
pub(crate) fn create(kind: u32, name: &[u8], attrs: Attrs<'_>) -> Op {
    op(6, |e| {
        e.u32(kind);
        if matches!(kind, 3 | 4) {
            e.u32(1).u32(2);
        }
        e.opaque(name);
        fattr(e, attrs);
    })
}

pub(crate) fn symlink(name: &[u8], target: &[u8]) -> Op {
    op(6, |e| {
        e.u32(5).opaque(target).opaque(name);
        fattr(e, (&[], &[]));
    })
}

pub(crate) fn remove(name: &[u8]) -> Op {
    op(28, |e| {
        e.opaque(name);
    })
}

pub(crate) fn rename(from: &[u8], to: &[u8]) -> Op {
    op(29, |e| {
        e.opaque(from).opaque(to);
    })
}

pub(crate) fn link(name: &[u8]) -> Op {
    op(11, |e| {
        e.opaque(name);
    })
}

pub(crate) fn readdir(cookie: u64, verifier: u64, maximum: u32) -> Op {
    op(26, |e| {
        e.u64(cookie).u64(verifier).u32(maximum).u32(maximum);
        bitmap(e, &[1, 20]);
    })
}

pub(crate) const ANONYMOUS: [u8; 16] = [0; 16];
pub(crate) const CURRENT: [u8; 16] = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(crate) fn read(stateid: [u8; 16], offset: u64, count: u32) -> Op {
    op(25, |e| {
        e.fixed(&stateid).u64(offset).u32(count);
    })
}

pub(crate) fn write(stateid: [u8; 16], offset: u64, stable: u32, data: &[u8]) -> Op {
    op(38, |e| {
        e.fixed(&stateid).u64(offset).u32(stable).opaque(data);
    })
}

pub(crate) fn commit(offset: u64, count: u32) -> Op {
    op(5, |e| {
        e.u64(offset).u32(count);
    })
}

/// Arguments of OPEN.
pub(crate) struct Open<'a> {
    pub(crate) client: u64,
    pub(crate) owner: &'a [u8],
    pub(crate) seqid: u32,
    pub(crate) access: u32,
    pub(crate) deny: u32,
    /// Create mode and what follows it.
    pub(crate) create: Option<(u32, Vec<u8>)>,
    /// Claim type and what follows it.
    pub(crate) claim: (u32, Vec<u8>),
}

impl Open<'_> {
    pub(crate) fn encode(&self) -> Op {
        op(18, |e| {
            e.u32(self.seqid).u32(self.access).u32(self.deny).u64(self.client).opaque(self.owner);
            match &self.create {
                None => {
                    e.u32(0);
                }
                Some((how, rest)) => {
                    e.u32(1).u32(*how);
                    e.buffer.extend_from_slice(rest);
                }
            }
            e.u32(self.claim.0);
            e.buffer.extend_from_slice(&self.claim.1);
        })
    }
}

pub(crate) fn plain_open(client: u64, name: &[u8]) -> Open<'_> {
    let mut claim = Encoder::default();
    claim.opaque(name);
    Open { client, owner: b"owner", seqid: 0, access: 1, deny: 0, create: None, claim: (0, claim.buffer) }
}

pub(crate) fn open(client: u64, owner: &[u8], access: u32, name: &[u8]) -> Op {
    Open { owner, access, ..plain_open(client, name) }.encode()
}

/// Attributes for a create: an encoded fattr4.
pub(crate) fn create_attrs(attrs: Attrs<'_>) -> Vec<u8> {
    let mut e = Encoder::default();
    fattr(&mut e, attrs);
    e.buffer
}

pub(crate) fn open_create(client: u64, how: u32, attrs: Attrs<'_>, name: &[u8]) -> Op {
    Open { access: 3, create: Some((how, create_attrs(attrs))), ..plain_open(client, name) }.encode()
}

pub(crate) fn close(stateid: [u8; 16], seqid: u32) -> Op {
    op(4, |e| {
        e.u32(seqid).fixed(&stateid);
    })
}

pub(crate) fn downgrade(stateid: [u8; 16], access: u32, deny: u32) -> Op {
    op(21, |e| {
        e.fixed(&stateid).u32(0).u32(access).u32(deny);
    })
}

/// LOCK by a new lock owner under an open.
pub(crate) fn lock(kind: u32, offset: u64, length: u64, open: [u8; 16], client: u64, owner: &[u8]) -> Op {
    op(12, |e| {
        e.u32(kind).u32(0).u64(offset).u64(length);
        e.u32(1).u32(0).fixed(&open).u32(0).u64(client).opaque(owner);
    })
}

/// LOCK by a lock owner that holds a lock already.
pub(crate) fn lock_more(kind: u32, reclaim: u32, offset: u64, length: u64, held: [u8; 16]) -> Op {
    op(12, |e| {
        e.u32(kind).u32(reclaim).u64(offset).u64(length).u32(0).fixed(&held).u32(0);
    })
}

pub(crate) fn lockt(kind: u32, offset: u64, length: u64, client: u64, owner: &[u8]) -> Op {
    op(13, |e| {
        e.u32(kind).u64(offset).u64(length).u64(client).opaque(owner);
    })
}

pub(crate) fn locku(offset: u64, length: u64, held: [u8; 16]) -> Op {
    op(14, |e| {
        e.u32(1).u32(0).fixed(&held).u64(offset).u64(length);
    })
}

pub(crate) fn free_stateid(stateid: [u8; 16]) -> Op {
    op(45, |e| {
        e.fixed(&stateid);
    })
}

pub(crate) fn test_stateid(stateids: &[[u8; 16]]) -> Op {
    op(55, |e| {
        e.u32(stateids.len() as u32);
        stateids.iter().for_each(|stateid| {
            e.fixed(stateid);
        });
    })
}

pub(crate) fn secinfo(name: &[u8]) -> Op {
    op(33, |e| {
        e.opaque(name);
    })
}

pub(crate) fn setclientid(name: &str, verifier: u8) -> Op {
    op(35, |e| {
        e.fixed(&[verifier; 8]).opaque(name.as_bytes()).u32(0x4000_0000).opaque(b"tcp").opaque(b"127.0.0.1.0.0").u32(1);
    })
}

pub(crate) fn setclientid_confirm(client: u64, confirm: u64) -> Op {
    op(36, |e| {
        e.u64(client).u64(confirm);
    })
}

pub(crate) fn stateid_op(number: u32, stateid: [u8; 16], seqid: u32) -> Op {
    op(number, |e| {
        e.fixed(&stateid).u32(seqid);
    })
}
