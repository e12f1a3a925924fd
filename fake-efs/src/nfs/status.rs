//! Results of NFSv4 operations (nfsstat4, RFC 8881 §15).

use super::xdr::Malformed;
use crate::store::StoreError;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// Why an operation was refused; success is not a value of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        #[allow(missing_docs, reason = "the names are those of RFC 8881")]
        pub enum Status { $($name = $number,)* }

        impl Status {
            /// The status with a number on the wire, if it is an error that this server knows.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

statuses! {
    Perm = 1,
    NoEnt = 2,
    Io = 5,
    Access = 13,
    Exist = 17,
    XDev = 18,
    NotDir = 20,
    IsDir = 21,
    Inval = 22,
    FBig = 27,
    NoSpc = 28,
    RoFs = 30,
    MLink = 31,
    NameTooLong = 63,
    NotEmpty = 66,
    DQuot = 69,
    Stale = 70,
    BadHandle = 10001,
    BadCookie = 10003,
    NotSupp = 10004,
    TooSmall = 10005,
    ServerFault = 10006,
    BadType = 10007,
    Delay = 10008,
    Same = 10009,
    Denied = 10010,
    Expired = 10011,
    Grace = 10013,
    FhExpired = 10014,
    WrongSec = 10016,
    ClidInUse = 10017,
    Resource = 10018,
    NoFileHandle = 10020,
    MinorVersMismatch = 10021,
    StaleClientId = 10022,
    StaleStateId = 10023,
    OldStateId = 10024,
    BadStateId = 10025,
    BadSeqId = 10026,
    NotSame = 10027,
    Symlink = 10029,
    RestoreFh = 10030,
    AttrNotSupp = 10032,
    NoGrace = 10033,
    ReclaimBad = 10034,
    BadXdr = 10036,
    LocksHeld = 10037,
    OpenMode = 10038,
    BadOwner = 10039,
    BadChar = 10040,
    BadName = 10041,
    BadRange = 10042,
    LockNotSupp = 10043,
    OpIllegal = 10044,
    BadSession = 10052,
    BadSlot = 10053,
    CompleteAlready = 10054,
    ConnNotBoundToSession = 10055,
    SeqMisordered = 10063,
    SequencePos = 10064,
    ReqTooBig = 10065,
    RepTooBig = 10066,
    RepTooBigToCache = 10067,
    RetryUncachedRep = 10068,
    TooManyOps = 10070,
    OpNotInSession = 10071,
    ClientIdBusy = 10074,
    SeqFalseRetry = 10076,
    BadHighSlot = 10077,
    EncrAlgUnsupp = 10079,
    NotOnlyOp = 10081,
    WrongType = 10083,
}

impl From<Malformed> for Status {
    fn from(_: Malformed) -> Self {
        Self::BadXdr
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stale => Self::Stale,
            StoreError::NotFound => Self::NoEnt,
            StoreError::Exists => Self::Exist,
            StoreError::NotDirectory => Self::NotDir,
            StoreError::IsDirectory => Self::IsDir,
            StoreError::NotEmpty => Self::NotEmpty,
            StoreError::Invalid => Self::Inval,
            StoreError::NameTooLong => Self::NameTooLong,
            StoreError::TooManyLinks => Self::MLink,
            StoreError::FileTooBig => Self::FBig,
            StoreError::NoSpace => Self::NoSpc,
            StoreError::Io(error) => {
                tracing::error!(%error, "the store failed");
                Self::Io
            }
        }
    }
}
