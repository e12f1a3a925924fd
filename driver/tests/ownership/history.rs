//! What can happen.

use proptest::prelude::*;

use crate::account::Fault;

/// Directories that volumes, tenants and administrators choose: equal, inside and around one another, and below a class's base path.
pub(crate) const PLACES: [&str; 8] =
    ["/base/a", "/base/a/x", "/base/b", "/team", "/team/app", "/team/app/x", "/other", "/base"];

/// What kind of volume is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// `efs-dir` at a place.
    Directory(usize),
    /// `efs-dir` at a place that is there already.
    Adopting(usize),
    /// `efs-dir` named after the volume.
    Plain,
    /// `efs-ap` named after the volume, below /base.
    Point,
    /// `efs-ap` at a place, which other volumes may have too.
    PointAt(usize),
    /// The same without tags.
    Untagged(usize),
    /// `efs-ap` that takes up what an earlier claim of this name had.
    Reusing(u8),
}

/// One call of a controller.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    /// CreateVolume of a volume's name.
    Create(u8, Class),
    /// DeleteVolume of one of the PersistentVolumes.
    Delete(usize),
}

/// A step of a history.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// A call that runs to its end, on one of two controllers.
    Run(usize, Call, Option<Fault>),
    /// A call whose controller dies after so many polls.
    CutOff(usize, Call, usize),
    /// Two calls at once on two controllers, polled in this order.
    Race(Call, Call, Vec<bool>),
    /// csi-provisioner stores the PersistentVolumes of all volumes that it knows of.
    Store,
    /// A PersistentVolume's policy becomes Retain.
    Retain(usize),
    /// A pod mounts a volume and writes a file.
    Write(usize),
    /// A tenant makes a directory or a link with a name like that of somebody's directory.
    TenantDirectory(usize, usize),
    TenantLink(usize, usize),
    /// A tenant moves something within its volume.
    TenantMove(usize),
    /// An administrator makes a directory with a file in it.
    AdminFile(usize),
    /// An administrator moves a directory away, and puts another one in its place.
    AdminMove(usize, bool),
    /// An administrator makes an access point.
    ForeignPoint(usize),
    /// An administrator deletes one of these, or a volume's access point behind the driver's back.
    ForeignGone(usize),
    PointGone(usize),
    /// An administrator makes a PersistentVolume for a directory, or removes it.
    Static(usize),
    StaticGone(usize),
    /// The trash is looked after.
    Purge(usize),
    Restart(usize),
    /// Seconds pass.
    Pass(u64),
}

fn class() -> impl Strategy<Value = Class> {
    let place = 0..PLACES.len();
    prop_oneof![
        4 => place.clone().prop_map(Class::Directory),
        1 => place.clone().prop_map(Class::Adopting),
        1 => Just(Class::Plain),
        2 => Just(Class::Point),
        3 => place.clone().prop_map(Class::PointAt),
        1 => place.prop_map(Class::Untagged),
        2 => (0..2u8).prop_map(Class::Reusing),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        5 => (0..6u8, class()).prop_map(|(name, class)| Call::Create(name, class)),
        5 => (0..8usize).prop_map(Call::Delete),
    ]
}

/// Any step.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    let fault = prop_oneof![6 => Just(None), 1 => Just(Some(Fault::Denied)), 1 => Just(Some(Fault::Lost))];
    let (place, volume, controller) = (0..PLACES.len(), 0..8usize, 0..2usize);
    prop_oneof![
        12 => (controller.clone(), call(), fault).prop_map(|(n, call, fault)| Op::Run(n, call, fault)),
        4 => (controller.clone(), call(), 0..120usize).prop_map(|(n, call, polls)| Op::CutOff(n, call, polls)),
        3 => (call(), call(), prop::collection::vec(any::<bool>(), 0..160)).prop_map(|(a, b, order)| Op::Race(a, b, order)),
        3 => Just(Op::Store),
        1 => volume.clone().prop_map(Op::Retain),
        8 => volume.clone().prop_map(Op::Write),
        1 => (volume.clone(), place.clone()).prop_map(|(n, at)| Op::TenantDirectory(n, at)),
        1 => (volume.clone(), place.clone()).prop_map(|(n, at)| Op::TenantLink(n, at)),
        1 => volume.prop_map(Op::TenantMove),
        2 => place.clone().prop_map(Op::AdminFile),
        1 => (place.clone(), any::<bool>()).prop_map(|(at, again)| Op::AdminMove(at, again)),
        1 => place.clone().prop_map(Op::ForeignPoint),
        1 => (0..4usize).prop_map(Op::ForeignGone),
        1 => (0..8usize).prop_map(Op::PointGone),
        1 => place.clone().prop_map(Op::Static),
        1 => place.prop_map(Op::StaticGone),
        2 => controller.clone().prop_map(Op::Purge),
        1 => controller.prop_map(Op::Restart),
        1 => (1..900u64).prop_map(Op::Pass),
    ]
}
