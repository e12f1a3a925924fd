//! Which ports the keeper is to hold. Its orders go through threads that run when they like: an order to keep a port must not be carried out
//! after a later one to release it, or the port would stay open for nobody.

use std::collections::HashSet;
use std::sync::Mutex;

use super::lock;

/// What was wanted last of each port.
#[derive(Debug, Default)]
pub(super) struct KeptPorts {
    wanted: Mutex<HashSet<u16>>,
    /// Held while an order is carried out.
    order: Mutex<()>,
}

impl KeptPorts {
    /// From now on the port is to be held.
    pub(super) fn want(&self, port: u16) {
        lock(&self.wanted).insert(port);
    }

    /// From now on it is not.
    pub(super) fn let_go(&self, port: u16) {
        lock(&self.wanted).remove(&port);
    }

    /// Carries out an order, unless the contrary is wanted by now.
    pub(super) fn carry_out(&self, port: u16, keep: bool, order: impl FnOnce()) {
        let _one_after_another = lock(&self.order);
        if lock(&self.wanted).contains(&port) == keep {
            order();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn an_order_that_comes_late_is_not_carried_out() {
        let (ports, done) = (KeptPorts::default(), RefCell::new(Vec::new()));
        let carry_out = |keep: bool| ports.carry_out(20049, keep, || done.borrow_mut().push(keep));
        ports.want(20049);
        ports.let_go(20049);
        // The threads run in the other order.
        carry_out(false);
        carry_out(true);
        assert_eq!(done.take(), [false]);
        ports.let_go(20049);
        ports.want(20049);
        carry_out(true);
        carry_out(false);
        assert_eq!(done.take(), [true]);
    }
}
