//! Where a server answers otherwise than fake-efs, and why EFS does so, or why it does not matter.

use fake_efs::nfs::Status;
use libtest_mimic::Trial;

use crate::acts::{Act, Creation, Handle, Order, State};
use crate::answers::{Answer, Reply};
use crate::client::OK;
use crate::lab::report;

/// An operation that is answered differently.
pub(crate) struct Case<'a> {
    pub(crate) minor: u32,
    /// The client that asks.
    pub(crate) client: usize,
    /// The operation; none is the request as a whole, or SEQUENCE.
    pub(crate) act: Option<&'a Act>,
    /// fake-efs's answer.
    pub(crate) ours: &'a Answer,
    pub(crate) theirs: &'a Answer,
}

/// A request whose replies are not both results of a COMPOUND.
pub(crate) struct WholeCase<'a> {
    pub(crate) minor: u32,
    pub(crate) acts: &'a [Act],
    pub(crate) theirs: &'a Reply,
}

impl Case<'_> {
    fn is(&self, ours: Status, theirs: &[Status]) -> bool {
        self.ours.status == ours as u32 && theirs.iter().any(|status| self.theirs.status == *status as u32)
    }

    fn both(&self, among: &[Status]) -> bool {
        let known = |status: u32| among.iter().any(|known| *known as u32 == status);
        known(self.ours.status) && known(self.theirs.status)
    }

    /// Whether the state id is not one that was given out.
    fn names_no_state(&self) -> bool {
        self.act.and_then(Act::state).is_some_and(|state| !matches!(state, State::Known(..)))
    }

    fn is_lock(&self) -> bool {
        matches!(self.act, Some(Act::LockNew { .. } | Act::LockMore { .. }))
    }

    /// Whether the state id was given to the other client.
    fn names_anothers(&self) -> bool {
        matches!(self.act.and_then(Act::state), Some(State::Known(whose, ..)) if *whose != self.client)
    }

    /// Whether both are attributes that differ in set-id bits of a directory only.
    fn differ_in_set_id(&self) -> bool {
        let plain = |shown: &str| {
            let entries = shown.split("type ").map(|entry| match entry.strip_prefix("2 mode ") {
                Some(rest) => {
                    let (mode, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                    let mode = u32::from_str_radix(mode, 8).unwrap_or_default() & 0o1777;
                    format!("2 mode {mode:o} {rest}")
                }
                None => entry.to_owned(),
            });
            entries.collect::<Vec<_>>().join("type ")
        };
        (self.ours.status, self.theirs.status) == (OK, OK) && plain(&self.ours.shown) == plain(&self.theirs.shown)
    }

    /// Whether an OPEN of this kind succeeded on both.
    fn created(&self, how: fn(&Creation) -> bool) -> bool {
        let opened = matches!(self.act, Some(Act::Open { creation, .. }) if how(creation));
        opened && self.ours.status == OK && self.theirs.status == OK
    }
}

/// A row: the peers, what differs, the reason.
struct Difference {
    peers: &'static [&'static str],
    what: &'static str,
    why: &'static str,
    applies: fn(&Case<'_>) -> bool,
}

/// The same for replies that are not both results of a COMPOUND.
struct WholeDifference {
    peers: &'static [&'static str],
    what: &'static str,
    why: &'static str,
    applies: fn(&WholeCase<'_>) -> bool,
}

/// All differences of operations that we know and accept. `docs/nfs.md` shows the same table.
const DIFFERENCES: &[Difference] = &[
    Difference {
        peers: BOTH,
        what: "what another user's client holds, in 4.0",
        why: "BAD_STATEID but for who opened the file or introduced the client, since no session says who asks; there anybody changes and ends it",
        applies: |case| {
            case.minor == 0
                && case.names_anothers()
                && case.ours.status == Status::BadStateId as u32
                && !matches!(case.act, Some(Act::Read(..) | Act::Write(..) | Act::SetSize(..)))
        },
    },
    Difference {
        peers: ALL,
        what: "a handle that was not given out",
        why: "handles here carry a check value, so that nobody leaves an access point's directory by making one up; theirs may name a file, or are STALE",
        applies: |case| {
            matches!(case.act, Some(Act::Put(Handle::Forged(..) | Handle::Noise(_))))
                && case.ours.status != OK
                && (case.theirs.status == OK || case.both(HANDLE))
        },
    },
    Difference {
        peers: ALL,
        what: "names that no file can have",
        why: "INVAL, BADNAME, BADCHAR or NAMETOOLONG, before or after the directory and its permissions are looked at: RFC 8881 §14.5 leaves it open",
        applies: |case| case.act.is_some_and(Act::is_misnamed) && case.both(&[NAME, BESIDE_NAME].concat()),
    },
    Difference {
        peers: ALL,
        what: "a state id of which nobody has heard",
        why: "STALE_STATEID is for those of the server's earlier life, which each server sees in other bits",
        applies: |case| case.both(STATE) && case.names_no_state(),
    },
    Difference {
        peers: ALL,
        what: "a state id and a file, range, access or number that don't fit, both at fault",
        why: "which one is told is left to the server",
        applies: |case| {
            case.act.is_some_and(|act| act.state().is_some())
                && (case.both(&[STATE, KIND].concat()) || case.minor == 0 && case.both(&[STATE, NUMBER].concat()))
        },
    },
    Difference {
        peers: ALL,
        what: "a range that is empty or beyond the last byte, in what can't be locked",
        why: "which one is told is left to the server",
        applies: |case| matches!(case.act, Some(Act::TestLock(..))) && case.both(KIND),
    },
    Difference {
        peers: ALL,
        what: "READ under an open for writing only",
        why: "RFC 8881 §9.1.2 lets a server allow it; here it is OPENMODE, which Linux never provokes",
        applies: |case| {
            matches!(case.act, Some(Act::Read(..)))
                && case.ours.status == Status::OpenMode as u32
                && case.theirs.status == OK
        },
    },
    Difference {
        peers: BOTH,
        what: "the attributes set by an exclusive OPEN",
        why: "they keep the verifier in the file's times and say so; here it has a place of its own",
        applies: |case| case.created(|creation| matches!(creation, Creation::Exclusive(_))),
    },
    Difference {
        peers: BOTH,
        what: "the attributes set by OPEN of a file that exists",
        why: "RFC 8881 §18.16.3: only its size may be set; they list what was asked for",
        applies: |case| case.created(|creation| matches!(creation, Creation::Unchecked | Creation::Emptied)),
    },
    Difference {
        peers: BOTH,
        what: "OPEN that empties a file and does not open it for writing",
        why: "the right to write decides; knfsd has INVAL, ganesha asks for no right",
        applies: |case| {
            matches!(case.act, Some(Act::Open { creation: Creation::Emptied, access: 1, .. }))
                && (case.theirs.status == Status::Inval as u32
                    || case.theirs.status == OK && case.ours.status == Status::Access as u32)
        },
    },
    Difference {
        peers: BOTH,
        what: "OPEN of a special file, in 4.1",
        why: "RFC 8881 §18.16.3: WRONG_TYPE; they still say SYMLINK, as 4.0 does",
        applies: |case| case.minor > 0 && case.is(Status::WrongType, &[Status::Symlink]),
    },
    Difference {
        peers: BOTH,
        what: "RESTOREFH of nothing, in 4.1",
        why: "RFC 8881 §18.27.3: NOFILEHANDLE; they still say RESTOREFH, as 4.0 does",
        applies: |case| case.minor > 0 && case.is(Status::NoFileHandle, &[Status::RestoreFh]),
    },
    Difference {
        peers: BOTH,
        what: "set-id bits of a directory that is made",
        why: "Linux leaves them out of mkdir's mode; a client of Linux never sends them",
        applies: |case| case.differ_in_set_id(),
    },
    Difference {
        peers: ALL,
        what: "a directory's operation on a symbolic link",
        why: "RFC 8881 §15.2: NOTDIR, since SYMLINK is for LOOKUP and LOOKUPP only; they say SYMLINK in OPEN, ganesha in others too",
        applies: |case| case.is(Status::NotDir, &[Status::Symlink]),
    },
    Difference {
        peers: ALL,
        what: "CREATE of an odd type, in what is no directory or may not be changed",
        why: "which one is told is left to the server",
        applies: |case| {
            matches!(case.act, Some(Act::Make(..)))
                && case.is(
                    Status::BadType,
                    &[Status::NotDir, Status::Access, Status::Exist, Status::Symlink, Status::Inval],
                )
        },
    },
    Difference {
        peers: BOTH,
        what: "replies that are to be kept and may become large",
        why: "they count the largest that it could be, and say REP_TOO_BIG_TO_CACHE or give less of a READ",
        applies: |case| {
            case.minor > 0
                && (case.theirs.status == Status::RepTooBigToCache as u32
                    || case.ours.status == OK
                        && matches!(case.act, Some(Act::Read(_, _, 4096)))
                        && case.ours.shown.starts_with("end 0")
                        && case.theirs.shown.starts_with("end 0"))
        },
    },
    Difference {
        peers: &["knfsd"],
        what: "OPEN and OPEN_DOWNGRADE with no access at all",
        why: "INVAL; there it is BADXDR, but the word decodes",
        applies: |case| {
            matches!(case.act, Some(Act::Open { access: 0, .. } | Act::Downgrade(_, _, 0)))
                && case.theirs.status == Status::BadXdr as u32
        },
    },
    Difference {
        peers: &["knfsd", "embednfs"],
        what: "TEST_STATEID and FREE_STATEID of another client's state id, in 4.1",
        why: "it looks at the number only, which clients have in common",
        applies: |case| {
            matches!(case.act, Some(Act::TestState(_))) && case.ours.shown == "BadStateId"
                || matches!(case.act, Some(Act::FreeState(_)))
                    && case.names_anothers()
                    && case.ours.status == Status::BadStateId as u32
        },
    },
    Difference {
        peers: &["knfsd"],
        what: "an OPEN that is repeated before its owner is confirmed, in 4.0",
        why: "RFC 7530 §9.1.7: it is answered from memory; there it is done again, with another state id",
        applies: |case| {
            case.minor == 0
                && (matches!(case.act, Some(Act::Open { .. }))
                    && (case.ours.status == OK && case.theirs.status == Status::Exist as u32
                        || case.ours.status == Status::Exist as u32 && case.theirs.status == OK)
                    || matches!(case.act, Some(Act::Confirm(..))) && case.theirs.status == Status::BadStateId as u32)
        },
    },
    Difference {
        peers: &["knfsd"],
        what: "an open owner with nothing open, in 4.0",
        why: "its number is known here for two leases; there it is forgotten, and its next open wants to be confirmed",
        applies: |case| {
            case.minor == 0 && matches!(case.act, Some(Act::Open { .. })) && case.theirs.shown.contains("confirm true")
        },
    },
    Difference {
        peers: BOTH,
        what: "a file that was removed",
        why: "STALE at once; there it stays good while the server keeps the file in a cache",
        applies: |case| {
            matches!(case.act, Some(Act::Put(Handle::Known(_)) | Act::Attributes))
                && case.ours.status == Status::Stale as u32
                && case.theirs.status == OK
        },
    },
    Difference {
        peers: BOTH,
        what: "OPEN_CONFIRM after one with a wrong number, in 4.0",
        why: "RFC 7530 §16.18.4: the wrong number shows that the OPEN was an old one, and it is given up; there it stays",
        applies: |case| {
            case.minor == 0
                && matches!(case.act, Some(Act::Confirm(..)))
                && case.ours.status == Status::BadStateId as u32
                && case.theirs.status == OK
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "a state id that is over, in 4.1",
        why: "4.1 has no STALE_STATEID (RFC 8881 §15.1.16.5)",
        applies: |case| case.minor > 0 && case.is(Status::BadStateId, &[Status::StaleStateId]),
    },
    Difference {
        peers: &["ganesha", "embednfs"],
        what: "another client's state id",
        why: "BAD_STATEID; there it is taken",
        applies: |case| {
            case.names_anothers()
                && case.ours.status == Status::BadStateId as u32
                && (case.theirs.status == OK || case.theirs.status == Status::ServerFault as u32)
                || matches!(case.act, Some(Act::TestState(_))) && case.ours.shown == "BadStateId"
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "LOCKU with an open's state id",
        why: "BAD_STATEID; there it is taken",
        applies: |case| {
            matches!(case.act, Some(Act::Unlock(..)))
                && case.ours.status == Status::BadStateId as u32
                && case.theirs.status == OK
        },
    },
    Difference {
        peers: BOTH,
        what: "a lock to the end of a file that is in the way",
        why: "its length is the highest number (RFC 8881 §18.10.3); knfsd counts to the end of signed numbers, ganesha says 0",
        applies: |case| {
            case.ours.status == Status::Denied as u32
                && case.theirs.status == Status::Denied as u32
                && case.ours.shown.contains("+18446744073709551615 as")
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "locks that its file system refuses",
        why: "RESOURCE; which of several locks in a file it refuses depends on what other owners hold",
        applies: |case| {
            matches!(case.act, Some(Act::LockNew { .. } | Act::LockMore { .. }))
                && case.theirs.status == Status::Resource as u32
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "the end of the file in a READ of nothing",
        why: "RFC 8881 §18.22.3: told for an offset at the end; there it isn't",
        applies: |case| {
            matches!(case.act, Some(Act::Read(_, _, 0))) && case.ours.status == OK && case.theirs.status == OK
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "creation of what exists and is no file, or not the caller's",
        why: "EXIST; there it is ISDIR, SYMLINK or ACCESS",
        applies: |case| case.is(Status::Exist, &[Status::IsDir, Status::Symlink, Status::Access]),
    },
    Difference {
        peers: ALL,
        what: "READLINK of what is no link, in 4.1",
        why: "RFC 8881 §18.24.3: WRONG_TYPE; there it is INVAL, as in 4.0",
        applies: |case| {
            case.minor > 0 && matches!(case.act, Some(Act::ReadLink)) && case.is(Status::WrongType, &[Status::Inval])
        },
    },
    Difference {
        peers: BOTH,
        what: "COMMIT by who may not write",
        why: "it writes nothing, and has no state id by which somebody who opened the file in time could be known; there it is ACCESS",
        applies: |case| {
            matches!(case.act, Some(Act::Commit))
                && case.ours.status == OK
                && case.theirs.status == Status::Access as u32
        },
    },
    Difference {
        peers: &["knfsd"],
        what: "CLOSE of an open that was not confirmed, in 4.0",
        why: "BAD_STATEID until it is confirmed; there it is closed",
        applies: |case| {
            case.minor == 0
                && matches!(case.act, Some(Act::Close(..)))
                && case.ours.status == Status::BadStateId as u32
                && case.theirs.status == OK
        },
    },
    Difference {
        peers: &["knfsd"],
        what: "a lock for reading under an open for writing only, of a file that somebody else has open for reading",
        why: "OPENMODE; there it is granted",
        applies: |case| case.is_lock() && case.ours.status == Status::OpenMode as u32 && case.theirs.status == OK,
    },
    Difference {
        peers: &["knfsd", "embednfs"],
        what: "the version of a lock's state id under another open of its file",
        why: "one state id for owner and file; there it is one for each open",
        applies: |case| case.is_lock() && case.ours.status == OK && case.theirs.status == OK,
    },
    Difference {
        peers: &["ganesha", "embednfs"],
        what: "CLOSE of a file with locks",
        why: "they go with it; RFC 8881 §18.2.3 leaves the choice, and there it is LOCKS_HELD",
        applies: |case| matches!(case.act, Some(Act::Close(..))) && case.theirs.status == Status::LocksHeld as u32,
    },
    Difference {
        peers: &["ganesha", "embednfs"],
        what: "names with a zero byte, . and ..",
        why: "BADCHAR and BADNAME; for ganesha names end before a zero byte, for embednfs they are like others",
        applies: |case| {
            case.act.is_some_and(Act::is_misnamed)
                && (case.ours.status == Status::BadChar as u32 || case.theirs.status == OK)
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "RENAME of what is not there, without the right to change the other directory",
        why: "which one is told is left to the server",
        applies: |case| matches!(case.act, Some(Act::Rename(..))) && case.is(Status::Access, &[Status::NoEnt]),
    },
    Difference {
        peers: &["ganesha"],
        what: "numbers of requests that failed, in 4.0",
        why: "RFC 7530 §9.1.7 lists the errors that don't count; there others don't either",
        applies: |case| case.minor == 0 && case.theirs.status == Status::BadSeqId as u32,
    },
    Difference {
        peers: &["ganesha"],
        what: "LOCK under an open that was not confirmed, in 4.0",
        why: "BAD_STATEID until it is confirmed; there it is granted",
        applies: |case| {
            case.minor == 0
                && matches!(case.act, Some(Act::LockNew { .. }))
                && case.ours.status == Status::BadStateId as u32
                && case.theirs.status == OK
        },
    },
    Difference {
        peers: &["knfsd"],
        what: "a number that was used for another request, in 4.0",
        why: "RFC 7530 §9.1.7: BAD_SEQID; there the last answer is given again",
        applies: |case| {
            case.minor == 0 && case.ours.status == Status::BadSeqId as u32 && case.act.is_some_and(|act| act.is_again())
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "a number that is wrong, of a LOCK that would be refused, in 4.0",
        why: "the number is looked at first; there it is the file",
        applies: |case| {
            case.is_lock() && case.minor == 0 && case.ours.status == Status::BadSeqId as u32 && case.theirs.status != OK
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "OPEN_DOWNGRADE that its file system can't do",
        why: "SERVERFAULT, where the open has what is asked for",
        applies: |case| {
            matches!(case.act, Some(Act::Downgrade(..))) && case.theirs.status == Status::ServerFault as u32
        },
    },
    Difference {
        peers: &["ganesha"],
        what: "CLOSE of what is closed, in 4.1",
        why: "BAD_STATEID; there it is done once more",
        applies: |case| {
            case.minor > 0
                && matches!(case.act, Some(Act::Close(..)))
                && case.ours.status == Status::BadStateId as u32
                && case.theirs.status == OK
        },
    },
    Difference {
        peers: &["embednfs"],
        what: "what CREATE, OPEN and SETATTR have set",
        why: "it does not tell",
        applies: |case| {
            matches!(case.ours.operation, 6 | 18 | 34) && case.ours.status == OK && case.theirs.status == OK
        },
    },
    Difference {
        peers: &["embednfs"],
        what: "pipes and sockets",
        why: "it has none",
        applies: |case| matches!(case.act, Some(Act::Make(6 | 7, ..))) && case.theirs.status == Status::NotSupp as u32,
    },
    Difference {
        peers: &["embednfs"],
        what: "permissions",
        why: "it asks its file system for few",
        applies: |case| case.ours.status == Status::Access as u32 || case.ours.status == Status::Perm as u32,
    },
    Difference {
        peers: &["embednfs"],
        what: "SECINFO of a name that is not there",
        why: "NOENT; it does not look",
        applies: |case| matches!(case.act, Some(Act::Security(_))) && case.theirs.status == OK,
    },
    Difference {
        peers: &["embednfs"],
        what: "locks under an open of another kind",
        why: "OPENMODE; it does not look",
        applies: |case| case.is_lock() && case.ours.status == Status::OpenMode as u32 && case.theirs.status == OK,
    },
    Difference {
        peers: &["embednfs"],
        what: "OPEN with no access at all, and of links",
        why: "INVAL and SYMLINK; it looks at other things first, or not at all",
        applies: |case| {
            matches!(case.act, Some(Act::Open { .. }))
                && (case.ours.status == Status::Inval as u32 || case.ours.status == Status::Symlink as u32)
        },
    },
    Difference {
        peers: &["embednfs"],
        what: "OPEN_DOWNGRADE",
        why: "it takes any access, of any file, and does not count the change (RFC 8881 §8.2.2, §18.18.3)",
        applies: |case| matches!(case.act, Some(Act::Downgrade(..))),
    },
    Difference {
        peers: &["embednfs"],
        what: "files that were removed",
        why: "kept while they are open, and STALE then; there they are STALE at once, or their handles name others",
        applies: |case| case.ours.status == Status::Stale as u32 || case.theirs.status == Status::Stale as u32,
    },
    Difference {
        peers: &["embednfs"],
        what: "which rights ACCESS knows of",
        why: "of a directory or of a file; it knows all of all",
        applies: |case| matches!(case.act, Some(Act::Access(_))) && case.ours.status == OK && case.theirs.status == OK,
    },
    Difference {
        peers: &["embednfs"],
        what: "no current file, a link or a file in place of a directory, beside another fault",
        why: "which one is told is left to the server",
        applies: |case| {
            case.theirs.status != OK
                && (case.both(&[Status::Symlink, Status::NotDir])
                    || case.ours.status == Status::NoFileHandle as u32
                    || case.ours.status == Status::NotDir as u32)
        },
    },
    Difference {
        peers: &["embednfs"],
        what: "locks of others in the way of READ and WRITE",
        why: "locks are advisory; there they are mandatory (LOCKED)",
        applies: |case| case.theirs.status == LOCKED,
    },
    Difference {
        peers: &["embednfs"],
        what: "what an owner's opens of a file allow together",
        why: "all that any of them asked for; there it is what the last one did",
        applies: |case| case.ours.status == OK && case.theirs.status == Status::OpenMode as u32,
    },
    Difference {
        peers: &["embednfs"],
        what: "the group of what is made in a directory with the set-group-ID bit",
        why: "the directory's; there it is the caller's",
        applies: |case| case.ours.operation == 9 && case.ours.status == OK && case.theirs.status == OK,
    },
    Difference {
        peers: &["embednfs"],
        what: "FREE_STATEID of what is over",
        why: "BAD_STATEID; there it is done once more",
        applies: |case| matches!(case.act, Some(Act::FreeState(_))) && case.theirs.status == OK,
    },
    Difference {
        peers: &["embednfs"],
        what: "a lock's state id after a lock under another open of its file",
        why: "one state id for owner and file; there the later lock ends the earlier one",
        applies: |case| {
            matches!(case.act, Some(Act::Unlock(..) | Act::LockMore { .. }))
                && case.ours.status == OK
                && case.theirs.status == Status::BadStateId as u32
        },
    },
];

/// The same of whole replies.
const WHOLE_DIFFERENCES: &[WholeDifference] = &[
    WholeDifference {
        peers: &["knfsd"],
        what: "a repeated OPEN that failed, and OPEN_CONFIRM with its OPEN's number, in 4.0",
        why: "answered from memory, and BAD_SEQID; there the reply can't be decoded",
        applies: |case| {
            case.minor == 0
                && matches!(case.theirs, Reply::Garbled(_))
                && case.acts.iter().any(|act| matches!(act, Act::Confirm(_, Order::Again) | Act::Open { .. }))
        },
    },
    WholeDifference {
        peers: &["ganesha"],
        what: "a request that is repeated over another connection, in 4.0",
        why: "it is answered; there it sometimes is not",
        applies: |case| case.minor == 0 && matches!(case.theirs, Reply::Silence | Reply::Closed),
    },
    WholeDifference {
        peers: &["ganesha"],
        what: "a repeated READDIR, in 4.1",
        why: "the same reply; there it can't always be decoded, or does not come",
        applies: |case| {
            case.minor > 0
                && matches!(case.theirs, Reply::Garbled(_) | Reply::Silence)
                && case.acts.contains(&Act::List)
        },
    },
    WholeDifference {
        peers: &["embednfs"],
        what: "names that are no UTF-8",
        why: "EFS takes any bytes; there the request does not decode",
        applies: |case| case.acts.iter().any(Act::is_no_text),
    },
];

/// The status of a READ or WRITE that a mandatory lock keeps out; nothing here answers it.
const LOCKED: u32 = 10_012;
const ALL: &[&str] = &["ganesha", "knfsd", "embednfs"];
const BOTH: &[&str] = &["ganesha", "knfsd"];
const HANDLE: &[Status] = &[Status::BadHandle, Status::Stale, Status::Inval, Status::NoFileHandle];
const NAME: &[Status] = &[Status::Inval, Status::BadName, Status::BadChar, Status::NameTooLong];
/// What may be wrong beside a name.
const BESIDE_NAME: &[Status] = &[
    Status::Access,
    Status::NotDir,
    Status::NoEnt,
    Status::Symlink,
    Status::Exist,
    Status::NoFileHandle,
    Status::BadType,
];
const STATE: &[Status] = &[Status::BadStateId, Status::StaleStateId, Status::OldStateId, Status::Expired];
const NUMBER: &[Status] = &[Status::BadSeqId];
const KIND: &[Status] =
    &[Status::IsDir, Status::Inval, Status::Symlink, Status::WrongType, Status::OpenMode, Status::Access];

/// The row that explains a difference.
pub(crate) fn explained(peer: &str, case: &Case<'_>) -> Option<&'static str> {
    let row = DIFFERENCES.iter().find(|row| row.peers.contains(&peer) && (row.applies)(case));
    row.map(|row| row.what)
}

/// The same for whole replies.
pub(crate) fn explained_whole(peer: &str, case: &WholeCase<'_>) -> Option<&'static str> {
    let row = WHOLE_DIFFERENCES.iter().find(|row| row.peers.contains(&peer) && (row.applies)(case));
    row.map(|row| row.what)
}

/// Checks that the documentation shows this table.
pub(crate) fn documentation_trial() -> Trial {
    report::trial("differences::the_documentation_lists_them_all", || {
        let page = include_str!("../../docs/nfs.md");
        let section = page.split("## Beside other servers").nth(1).and_then(|rest| rest.split("\n## ").next());
        let section = section.unwrap_or_default();
        let of_operations = DIFFERENCES.iter().map(|row| (row.peers, row.what, row.why));
        let of_replies = WHOLE_DIFFERENCES.iter().map(|row| (row.peers, row.what, row.why));
        let row = |(peers, what, why): (&[&str], &str, &str)| format!("| {} | {what} | {why} |", peers.join(", "));
        let rows: Vec<String> = of_operations.chain(of_replies).map(row).collect();
        for row in &rows {
            anyhow::ensure!(section.contains(row), "docs/nfs.md lacks the row\n{row}");
        }
        let shown = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| server |")).count();
        anyhow::ensure!(shown == rows.len(), "docs/nfs.md shows {shown} differences, there are {}", rows.len());
        Ok(())
    })
}
