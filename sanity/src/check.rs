//! What a check is.

use std::{fmt, future::Future, pin::Pin};

use csi_proto::csi::{
    controller_service_capability::rpc::Type as ControllerType,
    group_controller_service_capability::rpc::Type as GroupType, node_service_capability::rpc::Type as NodeType,
    plugin_capability::service::Type as ServiceType,
};

use crate::{case::Case, config::Spec, expect::Outcome};

/// The part of CSI that a check belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The Identity service.
    Identity,
    /// The Controller service.
    Controller,
    /// The Node service.
    Node,
    /// The GroupController service.
    Group,
    /// All services together.
    Whole,
}

impl Area {
    /// The label that selects the area's checks.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Controller => "controller",
            Self::Node => "node",
            Self::Group => "group",
            Self::Whole => "whole",
        }
    }
}

/// Where a check comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// A check of the Go suite, numbered 1 to 99.
    Go,
    /// One of ours, numbered from 101.
    Extra,
}

impl Group {
    /// The label that selects the group's checks.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Extra => "extra",
        }
    }
}

/// A capability without which a check is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Plugin(ServiceType),
    Controller(ControllerType),
    Node(NodeType),
    Group(GroupType),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (service, name) = match self {
            Self::Plugin(service) => ("plugin", service.as_str_name()),
            Self::Controller(rpc) => ("controller", rpc.as_str_name()),
            Self::Node(rpc) => ("node", rpc.as_str_name()),
            Self::Group(rpc) => ("group controller", rpc.as_str_name()),
        };
        write!(f, "the driver does not declare the {service} capability {name}")
    }
}

pub(crate) type Body = for<'a> fn(&'a Case) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// One check: what it is called, when it applies, which rule it stands for, and what it does.
#[derive(Clone, Copy)]
pub struct Check {
    pub(crate) number: u16,
    pub(crate) group: Group,
    pub(crate) area: Area,
    pub(crate) container: &'static str,
    pub(crate) title: &'static str,
    pub(crate) needs: &'static [Need],
    /// The first version of CSI that it is about.
    pub(crate) since: Spec,
    /// The rule of the specification, in words.
    pub(crate) rule: &'static str,
    /// Whether cleaning up includes the node calls.
    pub(crate) node_cleanup: bool,
    /// Whether the check needs the driver for itself: it counts what all checks make, takes all that there is of something,
    /// or restarts the driver.
    pub(crate) alone: bool,
    /// `None` is a check that is listed but never run.
    pub(crate) body: Option<Body>,
}

impl Check {
    /// The start of a check of the Go suite.
    pub(crate) const GO: Self = Self {
        number: 0,
        group: Group::Go,
        area: Area::Controller,
        container: "",
        title: "",
        needs: &[],
        since: Spec::V1_12,
        rule: "",
        node_cleanup: true,
        alone: false,
        body: None,
    };
    /// The start of one of our own.
    pub(crate) const EXTRA: Self = Self { group: Group::Extra, ..Self::GO };

    /// The number, 1 to 96 in the order of the Go suite v5.5.0, 97 to 99 for those that v5.6.0 has added, ours from 101.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The group that it belongs to.
    #[must_use]
    pub fn group(&self) -> Group {
        self.group
    }

    /// The part of CSI that it belongs to.
    #[must_use]
    pub fn area(&self) -> Area {
        self.area
    }

    /// Containers and title as the Go suite prints them.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.container, self.title)
    }

    /// The rule that it stands for.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.rule
    }

    /// The labels that select it.
    #[must_use]
    pub fn labels(&self) -> [&'static str; 2] {
        [self.group.label(), self.area.label()]
    }

    /// Whether it never runs beside another check, however many workers there are.
    #[must_use]
    pub fn alone(&self) -> bool {
        self.alone
    }

    /// Whether it is listed but never run, as in the Go suite.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.body.is_none()
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.number, self.name())
    }
}

/// Makes a [`Body`] of an async function.
macro_rules! body {
    ($function:path) => {
        Some(|case| Box::pin($function(case)))
    };
}
