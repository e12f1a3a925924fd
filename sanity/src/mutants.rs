//! Mutants: the [reference driver](crate::reference) with one fault each. A mutant names the checks that must notice it;
//! together they prove that every check can fail. They also serve to try out other suites:
//! `csi-reference-driver --mutant NAME`.

use csi_proto::csi::{ControllerServiceCapability, PluginCapability};
use tonic::{Code, Status};

use crate::reference::{
    ReferenceDriver,
    server::{Hook, Hooks},
};

mod border;
mod busy;
mod controller;
mod group;
mod health;
mod identity;
mod node;
mod snapshots;
mod undeclared;

/// The reference driver with one fault.
#[derive(Clone, Copy)]
pub struct Mutant {
    /// A short name, unique among all mutants.
    pub name: &'static str,
    /// What it does wrong, in words.
    pub fault: &'static str,
    /// The checks that notice it.
    pub killed_by: &'static [u16],
    /// Which further checks may fail.
    pub reach: Reach,
    arm: fn(&mut Hooks),
}

/// Which checks a mutant's fault may make fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that are named and no other.
    Exact,
    /// All that call this RPC, because nothing works without it.
    Callers(&'static str),
    /// The fault spoils the directories of later checks, so the named ones run alone.
    Alone,
}

impl Mutant {
    /// The hooks that make the fault.
    #[must_use]
    pub fn hooks(&self) -> Hooks {
        let mut hooks = Hooks::default();
        (self.arm)(&mut hooks);
        hooks
    }

    const fn callers(mut self, rpc: &'static str) -> Self {
        self.reach = Reach::Callers(rpc);
        self
    }

    const fn alone(mut self) -> Self {
        self.reach = Reach::Alone;
        self
    }
}

impl std::fmt::Debug for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// Every mutant.
#[must_use]
pub fn all() -> Vec<Mutant> {
    [
        identity::MUTANTS,
        controller::MUTANTS,
        snapshots::MUTANTS,
        node::MUTANTS,
        group::MUTANTS,
        busy::MUTANTS,
        border::MUTANTS,
        undeclared::MUTANTS,
        health::MUTANTS,
    ]
    .concat()
}

/// A mutant whose hook stands before one RPC.
macro_rules! mutant {
    ($name:literal, $fault:literal, [$($check:literal),*], $method:ident => $hook:expr) => {
        $crate::mutants::Mutant {
            name: $name,
            fault: $fault,
            killed_by: &[$($check),*],
            reach: $crate::mutants::Reach::Exact,
            arm: |hooks| hooks.$method = Some($hook),
        }
    };
}
use mutant;

/// Answers in this way where the condition holds, and asks the driver elsewhere.
fn when<Q: 'static, A: 'static>(
    ask: fn(&ReferenceDriver, Q) -> Result<A, Status>,
    condition: fn(&ReferenceDriver, &Q) -> bool,
    answer: fn(&ReferenceDriver, Q) -> Result<A, Status>,
) -> Hook<Q, A> {
    Box::new(
        move |driver, request| {
            if condition(driver, &request) { answer(driver, request) } else { ask(driver, request) }
        },
    )
}

/// Accepts, with an empty answer, what the driver should refuse.
fn accept<Q: 'static, A: Default + 'static>(
    ask: fn(&ReferenceDriver, Q) -> Result<A, Status>,
    condition: fn(&Q) -> bool,
) -> Hook<Q, A> {
    Box::new(move |driver, request| if condition(&request) { Ok(A::default()) } else { ask(driver, request) })
}

/// Refuses, where the condition holds, with this code.
fn refuse<Q: 'static, A: 'static>(
    ask: fn(&ReferenceDriver, Q) -> Result<A, Status>,
    condition: fn(&Q) -> bool,
    code: Code,
) -> Hook<Q, A> {
    Box::new(
        move |driver, request| {
            if condition(&request) { Err(Status::new(code, "a mutant's answer")) } else { ask(driver, request) }
        },
    )
}

/// Changes the request before the driver sees it.
fn change<Q: 'static, A: 'static>(
    ask: fn(&ReferenceDriver, Q) -> Result<A, Status>,
    edit: fn(&ReferenceDriver, &mut Q),
) -> Hook<Q, A> {
    Box::new(move |driver, mut request| {
        edit(driver, &mut request);
        ask(driver, request)
    })
}

/// Changes the driver's answer.
fn alter<Q: 'static, A: 'static>(ask: fn(&ReferenceDriver, Q) -> Result<A, Status>, edit: fn(&mut A)) -> Hook<Q, A> {
    Box::new(move |driver, request| {
        let mut answer = ask(driver, request)?;
        edit(&mut answer);
        Ok(answer)
    })
}

/// Answers with one code instead of another.
fn recode<Q: 'static, A: 'static>(
    ask: fn(&ReferenceDriver, Q) -> Result<A, Status>,
    from: Code,
    to: Code,
) -> Hook<Q, A> {
    Box::new(move |driver, request| {
        ask(driver, request)
            .map_err(|status| if status.code() == from { Status::new(to, "a mutant's answer") } else { status })
    })
}

/// Accepts, with an empty answer, what the driver refuses with this code.
fn forgive<Q: 'static, A: Default + 'static>(
    ask: fn(&ReferenceDriver, Q) -> Result<A, Status>,
    code: Code,
) -> Hook<Q, A> {
    Box::new(move |driver, request| match ask(driver, request) {
        Err(status) if status.code() == code => Ok(A::default()),
        answer => answer,
    })
}

fn plugin_capability(r#type: Option<csi_proto::csi::plugin_capability::Type>) -> PluginCapability {
    PluginCapability { r#type }
}

fn controller_capability(r#type: i32) -> ControllerServiceCapability {
    use csi_proto::csi::controller_service_capability::{Rpc, Type};
    ControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type })) }
}

/// A number that no capability has.
const NO_TYPE: i32 = 99;
